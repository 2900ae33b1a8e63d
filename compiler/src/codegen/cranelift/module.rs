//! A program as a module of functions.
//!
//! Expects: an empty module for the machine that [`isa`] describes.
//! Guarantees: names of functions say what they do, so that profilers show them.
//! Leaves out: where the code ends up.

use super::{kernel, step};
use crate::codegen::backend::step_symbol;
use crate::kernel::ir::Program;
use crate::kernel::verify;
use cranelift_codegen::ir::UserFuncName;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError, Context};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module, ModuleError};

/// What is written down on the way.
pub(super) enum Listing {
    /// Nothing.
    None,
    /// The functions as they enter the code generator.
    Clif(String),
    /// The functions as they leave it.
    Assembly(String),
}

impl Listing {
    /// What was written.
    pub(super) fn into_text(self) -> String {
        match self {
            Listing::None => String::new(),
            Listing::Clif(text) | Listing::Assembly(text) => text,
        }
    }
}

/// This machine, with all that its processor can do.
pub(super) fn isa(position_independent: bool) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    let pic = if position_independent { "true" } else { "false" };
    for (name, value) in
        [("opt_level", "speed"), ("enable_verifier", verifier), ("is_pic", pic), ("use_colocated_libcalls", "false")]
    {
        flags.set(name, value).expect("bug in bpc: a setting that Cranelift does not know");
    }
    let builder = cranelift_native::builder().map_err(|reason| format!("cannot generate code here: {reason}"))?;
    builder
        .finish(settings::Flags::new(flags))
        .map_err(|error| format!("cannot generate code for this machine: {error}"))
}

/// Defines all functions of a program; the id of the main one.
pub(super) fn generate(module: &mut dyn Module, program: &Program, listing: &mut Listing) -> Result<FuncId, String> {
    // What runs writes where the program says, so that nothing unchecked may come here, whoever made it.
    verify::verify(program)?;
    let convention = module.isa().default_call_conv();
    let mut functions = FunctionBuilderContext::new();
    let mut context = module.make_context();
    context.set_disasm(matches!(listing, Listing::Assembly(_)));
    let mut kernels = Vec::new();
    for (number, (part, repeats)) in step::kernels(program).into_iter().enumerate() {
        let name = format!("bpc_{}_{number}_{}", symbol(&program.name), symbol(part.name()));
        context.func.signature = kernel::signature(convention);
        let id = module.declare_function(&name, Linkage::Local, &context.func.signature).map_err(failed)?;
        context.func.name = UserFuncName::user(0, id.as_u32());
        let builder = FunctionBuilder::new(&mut context.func, &mut functions);
        kernel::emit(builder, module, program, part, &repeats);
        define(module, id, &name, &mut context, listing)?;
        kernels.push(id);
    }
    let name = step_symbol(program);
    context.func.signature = step::signature(convention);
    let id = module.declare_function(&name, Linkage::Export, &context.func.signature).map_err(failed)?;
    context.func.name = UserFuncName::user(0, id.as_u32());
    step::emit(FunctionBuilder::new(&mut context.func, &mut functions), module, program, &kernels);
    define(module, id, &name, &mut context, listing)?;
    Ok(id)
}

/// Compiles a function and adds it to the listing.
fn define(
    module: &mut dyn Module,
    id: FuncId,
    name: &str,
    context: &mut Context,
    listing: &mut Listing,
) -> Result<(), String> {
    if let Listing::Clif(text) = listing {
        text.push_str(&format!("; {name}\n{}\n", context.func.display()));
    }
    module.define_function(id, context).map_err(failed)?;
    if let Listing::Assembly(text) = listing {
        let code = context.compiled_code().and_then(|code| code.vcode.as_deref()).unwrap_or("");
        text.push_str(&format!("; {name}\n{code}\n"));
    }
    let disassemble = context.want_disasm;
    module.clear_context(context);
    context.set_disasm(disassemble);
    Ok(())
}

/// A name as a part of a symbol.
fn symbol(name: &str) -> String {
    let letters: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    letters.chars().take(80).collect()
}

/// The code generator's error; with everything it knows where our code was wrong.
fn failed(error: ModuleError) -> String {
    match error {
        ModuleError::Compilation(CodegenError::Verifier(errors)) => format!("bug in bpc: wrong code: {errors}"),
        other => format!("cannot generate code: {other}"),
    }
}
