//! The scripts of `web/js` joined into one.
//!
//! They are modules, so that Node can test them one by one. A page from disk cannot load modules, and needs no
//! bundler either: each module imports on lines of their own and exports declarations only, so their text without
//! those words, one after the other in the order of their imports, is the same program. Names at the top of a module
//! are therefore unique among all modules (the engine refuses the script otherwise, and a test runs it).

/// Joins `modules`, each after those it imports, inside one strict function.
pub(super) fn bundle(modules: &[&str]) -> String {
    let mut script = String::from("\n(() => {\n\"use strict\";\n");
    for module in modules {
        for line in module.lines().filter(|line| !line.starts_with("import ")) {
            script.push_str(line.strip_prefix("export ").unwrap_or(line));
            script.push('\n');
        }
    }
    script.push_str("})();\n");
    script
}

pub(super) const UNITS: &str = include_str!("../../../web/js/units.js");
pub(super) const DOM: &str = include_str!("../../../web/js/dom.js");
pub(super) const TREE: &str = include_str!("../../../web/js/tree.js");
pub(super) const LAYOUT: &str = include_str!("../../../web/js/layout.js");
pub(super) const COLOR: &str = include_str!("../../../web/js/color.js");
pub(super) const TIMELINE: &str = include_str!("../../../web/js/timeline.js");
pub(super) const PAGE: &str = include_str!("../../../web/js/page.js");
pub(super) const FLAME: &str = include_str!("../../../web/js/flame.js");
pub(super) const FLAMEGRAPH: &str = include_str!("../../../web/js/flamegraph.js");
pub(super) const ROWS: &str = include_str!("../../../web/js/rows.js");
pub(super) const TABLE: &str = include_str!("../../../web/js/table.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_words_go_and_the_rest_stays() {
        let modules = [
            "import { b } from \"./b.js\";\nexport function a() {\n  return \"import x\";\n}\n",
            "const c = 1;",
        ];
        assert_eq!(
            bundle(&modules),
            "\n(() => {\n\"use strict\";\nfunction a() {\n  return \"import x\";\n}\nconst c = 1;\n})();\n"
        );
    }

    #[test]
    fn scripts_cannot_end_their_element() {
        for module in [
            UNITS, DOM, TREE, LAYOUT, COLOR, TIMELINE, PAGE, FLAME, FLAMEGRAPH, ROWS, TABLE,
        ] {
            assert!(!module.contains("</script") && !module.contains("<!--"));
            assert!(!module.contains("innerHTML") && !module.contains("export default"));
        }
    }
}
