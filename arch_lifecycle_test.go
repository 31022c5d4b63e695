package edgekit_test

import (
	"go/ast"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestEveryRunHasALifecycleTest wants each exported type whose Run or Serve takes a context
// in the table of a lifecycle test: a test of its own domain, or of this folder, which
// names it "package.Type". Those tests hold all Run to the same rules: a second call returns
// the ErrStarted of the domain, cancel returns nil, and all goroutines are joined.
func TestEveryRunHasALifecycleTest(t *testing.T) {
	var types []string                    // "twin/mqtt.Bridge"
	tables := make(map[string]([]string)) // by the folder of a test, the strings in it
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "cmd" || path == "examples" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir // programs: nobody imports them
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(path, "_test.go") {
			if strings.Contains(d.Name(), "lifecycle") {
				tables[dir] = append(tables[dir], parse(t, path).strings()...)
			}
			return nil
		}
		for _, name := range parse(t, path).runners() {
			types = append(types, dir+"."+name)
		}
		return nil
	})
	if err != nil || len(types) < 20 {
		t.Fatalf("%v; found only %q", err, types)
	}
	for _, name := range types {
		if !named(tables, name) {
			t.Errorf("%s has a Run or Serve, and no lifecycle test has it: add it to the table in lifecycle_test.go of its domain", name)
		}
	}
}

// named reports whether the table of a folder at or above the type's has its name, from
// the package's name or any folder above it on.
func named(tables map[string][]string, name string) bool {
	for dir, table := range tables {
		if dir != "." && !strings.HasPrefix(name, dir+"/") && !strings.HasPrefix(name, dir+".") {
			continue
		}
		for _, s := range table {
			if s == name || strings.HasSuffix(name, "/"+s) {
				return true
			}
		}
	}
	return false
}

// strings lists the string literals of the file.
func (f parsed) strings() []string {
	var out []string
	ast.Inspect(f.file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				out = append(out, s)
			}
		}
		return true
	})
	return out
}

// runners lists the exported types with a method Run or Serve whose first parameter is a
// context.
func (f parsed) runners() []string {
	var out []string
	for _, decl := range f.file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv == nil || fn.Name.Name != "Run" && fn.Name.Name != "Serve" || len(fn.Type.Params.List) == 0 {
			continue
		}
		first, ok := fn.Type.Params.List[0].Type.(*ast.SelectorExpr)
		if !ok || first.Sel.Name != "Context" {
			continue
		}
		of := fn.Recv.List[0].Type
		if p, ok := of.(*ast.StarExpr); ok {
			of = p.X
		}
		if generic, ok := of.(*ast.IndexExpr); ok {
			of = generic.X
		}
		if name, ok := of.(*ast.Ident); ok && name.IsExported() {
			out = append(out, name.Name)
		}
	}
	return out
}
