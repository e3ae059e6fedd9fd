"""``kakehashi cite NAME``: text and BibTeX for a paper."""

from __future__ import annotations

from dataclasses import asdict

from kakehashi_core.cli.output import echo, echo_json, echo_remark
from kakehashi_core.cli.plugin_lookup import MODEL_KINDS, usable_plugins
from kakehashi_core.specs import Citation


def run_cite(name: str, *, as_json: bool) -> int:
    """Print each citation of the plugins of that name once; 1 if they state none.

    Raises:
        UnknownNameError: If no model has the name.
        PluginLoadError: If none of that name can be used.
    """
    found = usable_plugins(name, MODEL_KINDS)
    stated = [plugin.spec.citation for plugin in found if plugin.spec is not None]
    citations = [one for one in dict.fromkeys(stated) if one != Citation(text="")]
    if as_json:
        echo_json([asdict(citation) for citation in citations])
    else:
        for citation in citations:
            echo(citation_text(citation))
            if citation.bibtex:
                echo(f"\n{citation.bibtex.strip()}\n")
    if not citations:
        echo_remark(f"{name}: {found[0].distribution} states no citation")
        return 1
    return 0


def citation_text(citation: Citation) -> str:
    """Return the citation in one line with its DOI."""
    doi = f"https://doi.org/{citation.doi}" if citation.doi else ""
    if citation.doi and citation.doi in citation.text:
        doi = ""
    return " ".join(part for part in (citation.text, doi) if part)
