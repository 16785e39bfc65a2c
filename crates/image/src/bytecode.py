"""Compiles modules as an image will have them: for the paths under which they stand there, and
never looked at again (PEP 552, unchecked).

Its argument is a file of JSON: `app` and `site` are folders of modules, and each of `modules` says
in which it is (`of`), where (`path`), how it is called in the image (`shown`), and, for the
project's, the SHA-256 of its content. The compiled ones are `out`/NUMBER.
"""

import hashlib
import importlib.util
import json
import marshal
import os
import sys
import warnings

UNCHECKED = (1).to_bytes(4, "little")


def compiled(source, shown):
    code = compile(source, shown, "exec", dont_inherit=True, optimize=0)
    head = importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source)
    return head + marshal.dumps(code)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    warnings.simplefilter("ignore")
    failed, changed = [], []
    for module in job["modules"]:
        with open(os.path.join(job[module["of"]], module["path"]), "rb") as file:
            source = file.read()
        if module["sha256"] not in ("", hashlib.sha256(source).hexdigest()):
            changed.append(module["path"])
            continue
        try:
            content = compiled(source, module["shown"])
        except SyntaxError as error:
            failed.append([module["number"], f"line {error.lineno}: {error.msg}"])
            continue
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            failed.append([module["number"], str(error) or type(error).__name__])
            continue
        with open(os.path.join(job["out"], str(module["number"])), "wb") as file:
            file.write(content)
    with open(job["result"], "w", encoding="utf-8") as file:
        json.dump({"failed": failed, "changed": changed}, file)


main()
