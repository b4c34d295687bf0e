"""What the shell completes: names of engines and backends. Called for every TAB, so nothing heavy is imported."""

from __future__ import annotations


def any_engine(incomplete: str) -> list[str]:
    """What plans can be told to take."""
    from launcher.builds.types import AUTO

    return _beginning([AUTO, *_engines()], incomplete)


def tested_engine(incomplete: str) -> list[str]:
    """What can be tested."""
    return _beginning(_engines(), incomplete)


def removable_engine(incomplete: str) -> list[str]:
    """What can be removed: sound, damaged, or begun."""
    from launcher.builds import store
    from launcher.builds.types import ENVIRONMENT
    from launcher.builds.unfinished import begun
    from launcher.paths import folders

    own = folders()
    damaged = [each.name for each in store.installed(own.data)[1]]
    names = {*_engines(), *damaged, *begun(own.cache)} - {ENVIRONMENT}
    return _beginning(sorted(names), incomplete)


def backend(incomplete: str) -> list[str]:
    """What engines are compiled for."""
    from launcher.builds.types import BACKENDS

    return _beginning(list(BACKENDS), incomplete)


def backend_or_auto(incomplete: str) -> list[str]:
    """What `gpt-oss engine install` takes."""
    from launcher.builds.types import AUTO, BACKENDS

    return _beginning([AUTO, *BACKENDS], incomplete)


def _engines() -> list[str]:
    from launcher.builds import store
    from launcher.builds.types import ENVIRONMENT
    from launcher.paths import folders

    return [ENVIRONMENT, *(build.name for build in store.installed(folders().data)[0])]


def _beginning(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
