//! The page of errors: why a call is refused, what each code means, and what `check` may find.

use std::fmt::Write as _;

use meshgate_mcp::codes as rpc;
use meshgate_model::finding::codes as found;
use meshgate_proxy::refusal::Reason;

use super::cell;

const HEAD: &str = "# Errors

<!-- Generated from the program. Regenerate: `cargo xtask codegen`. -->

## Refusals

A call that ends without its server's answer is refused. `error.data[\"dev.meshgate/refusal\"]` of the answer says who refused
(`by`: `gateway` or `server`), why (`reason`), by which rule (`rule`), whether the call may have run (`executed`: `no` or
`unknown`) and when to come back (`retryAfterMs`, also as `Retry-After`). Send a call again by yourself only after
`executed: no`, or when the tool is safe to run twice. HTTP that is malformed below JSON is refused without a JSON body.

| reason | HTTP | code | meaning | what to do |
|---|---|---|---|---|
";

const CODES: &str = "
## JSON-RPC codes

Codes that this program sends or understands. A server's own codes pass through as they are.

| code | name | meaning |
|---|---|---|
";

const FINDINGS: &str = "
## Findings

What `meshgate check`, `up` and `import` may find in a file. A code never changes its meaning.

| code | meaning |
|---|---|
";

/// The page, as the text of its file.
pub(super) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for reason in Reason::ALL {
        let (status, code, name) = reason.row();
        let (meaning, remedy) = reason.meaning();
        let (status, meaning, remedy) = (status.as_u16(), cell(meaning), cell(remedy));
        let _ = writeln!(page, "| `{name}` | {status} | {code} | {meaning} | {remedy} |");
    }
    page.push_str(CODES);
    for (code, name, meaning) in rpc::ALL {
        let _ = writeln!(page, "| {code} | `{name}` | {} |", cell(meaning));
    }
    page.push_str(FINDINGS);
    for (code, meaning) in found::ALL {
        let _ = writeln!(page, "| {code} | {} |", cell(meaning));
    }
    page
}
