# SPDX-License-Identifier: Apache-2.0
"""Every use that our code makes of the bindings, read off its source.

A class of TensorRT is known by its annotation (``network: tensorrt.INetworkDefinition``, also of
a result of ours), or as what a method of another one returns; the modules by the names ``trt``
and ``_cudart``. So a new call is found by itself, and one on something unknown is a problem.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
import re

from tensorrt_contract.bindings import Surface

TENSORRT_NAMES = {'trt', '_trt'}
CUDA_NAMES = {'_cudart'}
MODULE = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One attribute of the bindings that our code reads, sets or calls.

    Attributes:
        owner: Class or enumeration, '' for the module.
        name: The attribute.
        call: Number of positional arguments and names of the others; None when not called.
        is_set: Whether it is assigned to.
        function: Function of ours in which it stands.
        line: Line there.
    """

    owner: str
    name: str
    call: tuple[int, frozenset[str]] | None
    is_set: bool
    function: str
    line: int

    def find_problem(self, surface: Surface) -> str:
        """Say what is wrong with it in one version of the bindings, '' when nothing is."""
        what = f'{self.function}:{self.line} {self.owner}.{self.name}'
        kind = surface.find(self.owner, self.name)
        if kind is None:
            return f'{what} is not in {surface.version}'
        if self.is_set:
            is_writable = surface.classes[self.owner][self.name]['is_writable']
            return '' if is_writable else f'{what} cannot be set in {surface.version}'
        if self.call is None:
            return '' if kind != 'method' else f'{what} is a method, and is not called'
        owner, name = (self.name, '__init__') if kind == 'class' else (self.owner, self.name)
        signatures = surface.signatures(owner, name)
        num_positional, keywords = self.call
        if not any(item.accepts(num_positional, set(keywords)) for item in signatures):
            return f'{what} is called with {self.call}, {surface.version} has {signatures}'
        return ''


class _Reader:
    """Finds the uses in one function of ours."""

    def __init__(self, function: ast.FunctionDef, known: dict[str, str], surface: Surface) -> None:
        """Take a function, what is known of names outside of it, and the results of methods."""
        self.uses: list[Use] = []
        self._function, self._surface, self._modules = function, surface, _modules(surface)
        self._types = dict(known)
        for item in [*function.args.args, *function.args.kwonlyargs]:
            self._note(item.arg, annotated_class(item.annotation))
        self._called: dict[int, tuple[int, frozenset[str]]] = {}

    def read(self) -> list[Use]:
        for node in ast.walk(self._function):  # outer statements first: names before their use
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self._note(node.target.id, annotated_class(node.annotation))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._note(node.targets[0].id, self._infer(node.value))
        for node in ast.walk(self._function):
            if isinstance(node, ast.Call):
                keywords = frozenset(item.arg for item in node.keywords if item.arg)
                self._called[id(node.func)] = (len(node.args), keywords)
            if isinstance(node, ast.Attribute):
                owner = self._infer(node.value)
                if owner is not None:
                    self._add(node, owner)
        return self.uses

    def _add(self, node: ast.Attribute, owner: str) -> None:
        self.uses.append(
            Use(
                owner=owner,
                name=node.attr,
                call=self._called.get(id(node)),
                is_set=isinstance(node.ctx, ast.Store),
                function=self._function.name,
                line=node.lineno,
            )
        )

    def _note(self, name: str, kind: str | None) -> None:
        if kind is not None:
            self._types[name] = kind

    def _infer(self, node: ast.expr) -> str | None:
        """Class of an expression, '' for the module, None when it is not of the bindings."""
        if isinstance(node, ast.Name):
            return MODULE if node.id in self._modules else self._types.get(node.id)
        if isinstance(node, ast.Call):
            return self._infer_result(node.func)
        return self._infer_attribute(node) if isinstance(node, ast.Attribute) else None

    def _infer_attribute(self, node: ast.Attribute) -> str | None:
        if node.attr in self._modules:
            return MODULE
        owner = self._infer(node.value)
        if owner is None:  # an attribute of ours: self._context
            return self._types.get(node.attr)
        full_name = f'{owner}.{node.attr}'.lstrip('.')
        is_type = full_name in self._surface.enums or full_name in self._surface.classes
        return full_name if is_type else None

    def _infer_result(self, function: ast.expr) -> str | None:
        if isinstance(function, ast.Name):
            return self._types.get(f'{function.id}()')
        if not isinstance(function, ast.Attribute):
            return None
        owner = self._infer(function.value)
        if owner is None:
            return self._types.get(f'{function.attr}()')
        if owner == MODULE and function.attr in self._surface.classes:
            return function.attr
        if self._surface.find(owner, function.attr) != 'method':
            return None
        results = {item.result for item in self._surface.signatures(owner, function.attr)}
        return next((item for item in results if item in self._surface.classes), None)


def find_uses(source: str, surface: Surface) -> list[Use]:
    """List the uses in one module of ours; ``surface`` tells what methods return."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    known = {
        f'{item.name}()': kind
        for item in functions
        if (kind := annotated_class(item.returns)) is not None
    }
    for node in ast.walk(tree):  # self._context: tensorrt.IExecutionContext | None = ...
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            kind = annotated_class(node.annotation)
            known |= {node.target.attr: kind} if kind else {}
    return [use for item in functions for use in _Reader(item, known, surface).read()]


def annotated_class(annotation: ast.expr | None) -> str | None:
    """Class of an annotation of ours: 'tensorrt.Builder | None' is Builder."""
    match = re.match(r'tensorrt\.([\w.]+)', ast.unparse(annotation) if annotation else '')
    return match[1] if match else None


def _modules(surface: Surface) -> set[str]:
    return TENSORRT_NAMES if 'Builder' in surface.classes else CUDA_NAMES
