"""Install the peers of the benchmarks in environments of their own (once), and say what could not be.

python benchmarks/install.py
"""

from harness.environments import Environments

if __name__ == "__main__":
    environments = Environments()
    environments.install()
    for name, version in sorted(environments.versions().items()):
        print(f"{name} {version}")
    for name, reason in environments.skipped.items():
        print(f"{name}: {reason}")
