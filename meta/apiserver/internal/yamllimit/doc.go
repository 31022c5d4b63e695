// Package yamllimit computes how much memory a YAML document needs to be parsed, before it
// is parsed. The YAML parser allocates 800 bytes for "- a: b", and the meaning of a line
// depends on all lines before it. So only a simple form is computed: block mappings and
// lists, one value or one list on a line, and block scalars. kubectl, Helm and people write
// this form. A large ConfigMap has it, and nearly all of it is text, which needs little.
//
// A document in another form is not wrong. Check only cannot compute its memory: it names
// the line, and says that JSON is accepted at any size.
package yamllimit
