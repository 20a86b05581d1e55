"""Builds the extensions that pyproject.toml lists: on all cores, small, and once for every way to install.

Setuptools reads this file while it builds; nothing of hwsim imports it.
"""

from __future__ import annotations

from Cython.Build import cythonize
from setuptools import Extension
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.modified import newer_group

LIMITED_API = [("Py_LIMITED_API", "0x030b0000"), ("CYTHON_LIMITED_API", "1")]
"""The stable interface of Python 3.11: what is compiled once runs on it and on every later Python."""


class BuildExtensions(build_ext):
    """What Cython's extensions have in common is compiled once, in a module of its own."""

    def finalize_options(self) -> None:
        self.parallel = self.parallel or True
        super().finalize_options()
        for extension in self.extensions:
            extension.py_limited_api = True
            # Without the kernels only the execution of a mapping is missing; hwsim says so where it is asked for.
            extension.optional = extension.name.startswith("hwsim.kernels.")
        if self.editable_mode:  # in place of a temporary folder, that of a plain install: what it has is up to date
            plain = build(self.distribution)
            plain.ensure_finalized()
            self.build_lib = plain.build_lib

    def build_extensions(self) -> None:
        # Cython itself is new in every isolated build, so Cython would say that everything is out of date.
        if not self.force and not any(map(self.is_outdated, self.extensions)):
            return
        compiled = cythonize(self.extensions, force=self.force, shared_utility_qualified_name="hwsim._cyutility")
        for extension, module in zip(self.extensions, compiled, strict=True):
            extension.sources = module.sources
            extension.define_macros = [*extension.define_macros, *LIMITED_API]
            if not self.debug:  # 13 MB of symbols otherwise, and a third of the time
                extension.extra_compile_args = ["-g0", *extension.extra_compile_args]
                extension.extra_link_args = ["-s", *extension.extra_link_args]
        super().build_extensions()

    def is_outdated(self, extension: Extension) -> bool:
        """Whether a source is newer than what was compiled of it."""
        sources = [source for source in extension.sources if source.endswith(".pyx")]
        return newer_group([*sources, *extension.depends, "pyproject.toml"], self.get_ext_fullpath(extension.name))


class SourceDistribution(sdist):
    """What a clone has: the tests with their data, the docs and the benchmarks too."""

    def make_distribution(self) -> None:
        for folder in ("docs", "tests", "benchmarks", ".ci"):
            self.filelist.graft(folder)
        self.filelist.append("CONTRIBUTING.md")
        for pattern in ("*.c", "*.so", "*.py[cod]"):
            self.filelist.global_exclude(pattern)
        super().make_distribution()
