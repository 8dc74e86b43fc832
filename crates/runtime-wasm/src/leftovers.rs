//! Imports that a C library leaves in a module although nothing useful is behind them: they are answered with an error.

use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, Module, TypeSection, ValType,
};
use wasmparser::{Parser, Payload, TypeRef, types::TypesRef};

/// Where a C library looks for the system.
pub(crate) const SYSTEM: &str = "wasi_snapshot_preview1";
/// What is answered; anything else is a capability that assets do not have.
const ANSWERED: [&str; 7] =
    ["fd_close", "fd_fdstat_get", "fd_prestat_get", "fd_read", "fd_seek", "fd_write", "proc_exit"];
/// The error number for a file that is not open.
const EBADF: i32 = 8;

/// Makes a module that stands in for the system, for a module that looks for it; none if it does not.
///
/// # Errors
///
/// The import that is not answered.
pub(crate) fn stand_in(module: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let imports = imports(module)?;
    if imports.is_empty() {
        return Ok(None);
    }
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for (index, (name, params, results)) in (0_u32..).zip(imports) {
        if !ANSWERED.contains(&name.as_str()) {
            return Err(format!("{SYSTEM}.{name}"));
        }
        types.ty().function(params, results.iter().copied());
        functions.function(index);
        exports.export(&name, ExportKind::Func, index);
        let mut body = Function::new([]);
        match results.as_slice() {
            [ValType::I32] => body.instructions().i32_const(EBADF).end(),
            // It is to end the program: it does.
            _ => body.instructions().unreachable().end(),
        };
        code.function(&body);
    }
    let mut system = Module::new();
    system.section(&types).section(&functions).section(&exports).section(&code);
    Ok(Some(system.finish()))
}

type Import = (String, Vec<ValType>, Vec<ValType>);

/// Returns the functions that a module imports from the system.
fn imports(module: &[u8]) -> Result<Vec<Import>, String> {
    let mut found = Vec::new();
    let validated = wasmparser::Validator::new().validate_all(module).map_err(|error| error.to_string())?;
    let types = validated.as_ref();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ImportSection(section) = payload.map_err(|error| error.to_string())? else { continue };
        for import in section.into_imports() {
            let import = import.map_err(|error| error.to_string())?;
            if let (SYSTEM, TypeRef::Func(index)) = (import.module, import.ty) {
                let (params, results) = signature(types, index)?;
                found.push((import.name.to_owned(), params, results));
            }
        }
    }
    Ok(found)
}

fn signature(types: TypesRef<'_>, index: u32) -> Result<(Vec<ValType>, Vec<ValType>), String> {
    let id = types.core_type_at_in_module(index);
    let function = types[id].unwrap_func();
    let number = |kind: &wasmparser::ValType| match kind {
        wasmparser::ValType::I32 => Ok(ValType::I32),
        wasmparser::ValType::I64 => Ok(ValType::I64),
        other => Err(format!("{SYSTEM} takes no {other}")),
    };
    let all = |kinds: &[wasmparser::ValType]| kinds.iter().map(number).collect::<Result<Vec<_>, _>>();
    Ok((all(function.params())?, all(function.results())?))
}
