"""What a default installation brings has a licence that allows to serve with it, and to pass it on."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ALLOWED = re.compile(
    r"MIT( License)?|MIT-0|(The )?ISC( License)?( \(ISCL\))?|0BSD|Zlib|CC0-1\.0|BSL-1\.0|PSF-2\.0|CNRI-Python|BSD"
    r"|BSD[ -][23]-Clause( License)?|BSD License|Apache([ -]2\.0|[ -]License 2\.0| Software License| 2\.0 License)"
    r"|Apache-2\.0 WITH LLVM-exception"
    r"|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)"  # its files stay under it, ours don't come under it
    r"|LGPL-(2\.1|3\.0)-or-later"  # libraries that are loaded, and can be replaced
    r"|LicenseRef-NVIDIA-Proprietary|NVIDIA Proprietary Software|Other/Proprietary License",  # CUDA's, with torch
)
"""Licences by the names that packages give them."""
PROPRIETARY = "nvidia-", "cuda-"
"""The only packages whose licence may be NVIDIA's."""
LIBRARIES = {
    r"libsndfile_\w+": "LGPL-2.1-or-later",  # with mpg123 and LAME (LGPL), FLAC, Ogg, Vorbis and Opus (BSD)
    r"libsonic\.abi3": "Apache-2.0",
    r"libgomp.*|libgfortran.*": "GPL-3.0-or-later WITH GCC-exception-3.1",  # what uses it is not under it
    r"libquadmath.*": "LGPL-2.1-or-later",
    r"libscipy_openblas.*": "BSD-3-Clause",
    r"lib(torch|c10|caffe2|shm)\w*": "BSD-3-Clause",
    r"lib(triton|proton|MLIRDialectPlugin|\w*TestLib)": "MIT",
    r"lib(cupti|checkpoint|nvperf_\w+|pcsamplingutil)": "LicenseRef-NVIDIA-Proprietary",  # in triton
}
"""Native libraries inside packages, by name without `.so`, and their licences; NVIDIA's packages have only NVIDIA's."""
UNNAMED = {
    "cuda-toolkit": "an empty package that requires NVIDIA's",
}
"""Packages whose metadata name no licence, and what it is."""


def runtime_packages(name: str) -> dict[str, Distribution]:
    """The distributions that an installation of `name` without extras needs on this machine, by name."""
    packages: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in packages:
            continue
        try:
            packages[name] = distribution(name)
        except PackageNotFoundError:
            pytest.fail(f"{name}: expected it to be installed")
        for text in packages[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return packages


def licences(package: Distribution) -> list[str]:
    """The names of its licences: of the expression, else of the classifiers, else of the text field."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return [part.strip("() ") for part in re.split(r" AND | OR ", expression)]
    listed = [str(line) for line in metadata.get_all("Classifier") or []]
    names = [line.rpartition(" :: ")[2] for line in listed if line.startswith("License :: ") and line.count("::") > 1]
    text = str(metadata.get("License") or "").strip()
    return names or re.split(" AND ", text.partition("\n")[0])  # some put the whole text there


@pytest.mark.parametrize("project", ["glmtts-server", "glmtts-client"])
def test_each_licence_is_one_of_those_allowed(project: str) -> None:
    packages = runtime_packages(project)
    assert len(packages) > 5
    for name, package in packages.items():
        if name in UNNAMED:
            continue
        names = licences(package)
        assert names, name
        assert all(ALLOWED.fullmatch(licence) for licence in names), (name, names)
        if any("roprietary" in licence for licence in names):
            assert name.startswith(PROPRIETARY), name


def test_no_exemption_is_left_over() -> None:
    for name in UNNAMED:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # only comes with some builds of torch
        assert not any(licences(package)), name


@pytest.mark.parametrize("project", ["glmtts-server", "glmtts-client"])
def test_each_library_inside_a_package_is_known(project: str) -> None:
    """A wheel may carry libraries of other projects, under licences that its metadata need not name."""
    libraries = {
        (name, file.name.partition(".so")[0])
        for name, package in runtime_packages(project).items()
        if not name.startswith(PROPRIETARY)
        for file in package.files or []
        if re.match(r"lib.*\.so(\.|$)", file.name)
    }
    unknown = [library for library in libraries if not any(re.fullmatch(p, library[1]) for p in LIBRARIES)]
    assert unknown == []
    assert any(name == "soundfile" for name, _ in libraries) == (project == "glmtts-server")


def test_no_library_is_under_the_gpl_alone() -> None:
    """Whatever the packages' metadata say."""
    allowed = re.compile(rf"{ALLOWED.pattern}|GPL-3\.0-or-later WITH GCC-exception-3\.1")
    assert [licence for licence in LIBRARIES.values() if not allowed.fullmatch(licence)] == []
