"""The contenders: each module makes a step of its library from a setting and the numbers to run it on."""
