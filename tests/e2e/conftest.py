"""End-to-end tests: the programs from outside. What they are made of is in harness/."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def pytest_configure(config):
    if not config.pluginmanager.has_plugin("harness.fixtures"):
        config.pluginmanager.import_plugin("harness.fixtures")
    if not config.pluginmanager.has_plugin("harness.npm"):
        config.pluginmanager.import_plugin("harness.npm")
    if not config.pluginmanager.has_plugin("harness.podman_service"):
        config.pluginmanager.import_plugin("harness.podman_service")
