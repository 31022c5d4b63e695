package edgekit_test

import (
	"go/ast"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExamples wants an Example in every package that others import, but for generated ones and
// those that have types only.
func TestExamples(t *testing.T) {
	for _, p := range packages(t) {
		if p.testOnly() || levels[domain(p.name())] >= 4 || slices.Contains(strings.Split(p.name(), "/"), "internal") {
			continue
		}
		wants, has := false, false
		for _, name := range p.GoFiles {
			if f := parse(t, filepath.Join(p.Dir, name)); !generated(f) {
				wants = wants || slices.ContainsFunc(f.file.Decls, func(d ast.Decl) bool { fn, ok := d.(*ast.FuncDecl); return ok && fn.Name.IsExported() })
			}
		}
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			for _, d := range parse(t, filepath.Join(p.Dir, name)).file.Decls {
				fn, ok := d.(*ast.FuncDecl)
				has = has || ok && strings.HasPrefix(fn.Name.Name, "Example")
			}
		}
		if wants && !has {
			t.Errorf("%s has no Example", p.name())
		}
	}
}
