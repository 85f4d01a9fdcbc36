//! Where the linker took each function from: the section of an object file, which is what it can move.

use std::collections::BTreeMap;

/// A section of code.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Section {
    /// The object file, as `archive(member)`.
    pub(super) file: String,
    pub(super) name: String,
    pub(super) size: u64,
}

/// Reads the linker's map: for each function its section.
///
/// Lines are `VMA LMA Size Align` and then a name that is indented by its kind: output section, input section, symbol.
pub(super) fn read(map: &str) -> BTreeMap<String, Section> {
    let (mut sections, mut inside) = (BTreeMap::new(), None);
    for line in map.lines() {
        let Some((size, name)) = size_and_name(line) else {
            continue;
        };
        match name.len() - name.trim_start().len() {
            0 => inside = None,
            8 => inside = section(name.trim(), size),
            _ => {
                if let Some(section) = &inside {
                    sections
                        .entry(name.trim().to_owned())
                        .or_insert_with(|| Section::clone(section));
                }
            }
        }
    }
    sections
}

/// The size and what follows the four numbers, with the indentation that tells its kind.
fn size_and_name(line: &str) -> Option<(u64, &str)> {
    let mut rest = line;
    let mut size = 0;
    for column in 0..4 {
        rest = rest.trim_start();
        let (number, after) = rest.split_at_checked(rest.find(' ')?)?;
        let number = u64::from_str_radix(number, 16).ok()?;
        if column == 2 {
            size = number;
        }
        rest = after;
    }
    Some((size, rest.strip_prefix(' ')?))
}

/// `file:(section)`, where it is code.
fn section(text: &str, size: u64) -> Option<Section> {
    let (file, name) = text.strip_suffix(')')?.rsplit_once(":(")?;
    name.starts_with(".text").then(|| Section {
        file: file.to_owned(),
        name: name.to_owned(),
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_function_is_found_in_the_section_above_it() {
        let map = "             VMA              LMA     Size Align Out     In      Symbol\n\
                   \x20         56a780           56a780   e4ab0c    64 .text\n\
                   \x20         56a780           56a780       1f    16         /a/libx.rlib(x.o):(.text._Rx)\n\
                   \x20         56a780           56a780       1f     1                 _Rx\n\
                   \x20         56a7a0           56a7a0       10    16         /a/libx.rlib(x.o):(.rodata._Ry)\n\
                   \x20         56a7a0           56a7a0       10     1                 _Ry\n";
        let found = read(map);
        assert_eq!(found.len(), 1);
        let section = found
            .get("_Rx")
            .map(|section| (section.file.as_str(), section.name.as_str(), section.size));
        assert_eq!(section, Some(("/a/libx.rlib(x.o)", ".text._Rx", 0x1f)));
    }
}
