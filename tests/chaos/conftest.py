"""Fault tests, with the harness of the end-to-end tests."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))


def pytest_configure(config):
    if not config.pluginmanager.has_plugin("harness.fixtures"):
        config.pluginmanager.import_plugin("harness.fixtures")
