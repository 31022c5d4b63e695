// Package yamllimit reckons what a document of YAML would take to be parsed, before
// it is. A parser of YAML makes 800 bytes of "- a: b", and what a line means
// depends on all lines before it, so that only a plain form is reckoned: block
// mappings and lists, one value or one list on a line, and block scalars, which is
// what kubectl, Helm and people write. A large ConfigMap is such a document, and
// nearly all of it is text, which costs little.
//
// A document of another form is not wrong, it is only not reckoned: Check says in
// which line, and that JSON is taken at any size.
package yamllimit
