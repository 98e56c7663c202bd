"""What there is, one noun a module. Siblings do not import each other; all may use `policy` and the kernel."""
