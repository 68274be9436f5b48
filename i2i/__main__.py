"""`python -m i2i` is `i2i`: what torchrun starts."""

from i2i.cli import main

main()
