"""What the black-box tests are made of: a private Redis, nodes, clients that read and cut at any byte, and the exact-delivery check."""
