"""Compiles a WebAssembly module that has a memory, and calls it."""

import sys

import wasmtime

MODULE = '(module (memory 1) (func (export "answer") (result i32) i32.const 42))'
store = wasmtime.Store()
instance = wasmtime.Instance(store, wasmtime.Module(store.engine, MODULE), [])
sys.stdout.write(f"answer {instance.exports(store)['answer'](store)}\n")
