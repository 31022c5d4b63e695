package edgekit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// parsed is one source file as the architecture tests look at it.
type parsed struct {
	fset *token.FileSet
	file *ast.File
}

func parse(t *testing.T, name string) parsed {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return parsed{fset, file}
}

func generated(f parsed) bool { return ast.IsGenerated(f.file) }

func (f parsed) line(p token.Pos) int { return f.fset.Position(p).Line }

// callsTo finds the calls of pkg.name in the file.
func (f parsed) callsTo(pkg, name string) []*ast.CallExpr {
	var calls []*ast.CallExpr
	ast.Inspect(f.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == name {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == pkg {
				calls = append(calls, call)
			}
		}
		return true
	})
	return calls
}

// starts reports whether the file starts goroutines: by a go statement, or by the
// method Go of a sync.WaitGroup or an errgroup.Group.
func (f parsed) starts() bool {
	found := false
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			found = found || ok && sel.Sel.Name == "Go"
		}
		return true
	})
	return found
}

func (f parsed) checkSizes(t *testing.T) {
	t.Helper()
	if n := f.line(f.file.FileEnd); n > 800 {
		t.Errorf("%s has %d lines, 800 are the limit", f.fset.Position(f.file.Pos()).Filename, n)
	}
	for _, d := range f.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && f.line(fn.End())-f.line(fn.Pos()) > 150 {
			t.Errorf("%s: %s is over 150 lines", f.fset.Position(fn.Pos()), fn.Name.Name)
		}
	}
}

func (f parsed) checkFuncs(t *testing.T, program bool) {
	t.Helper()
	for _, d := range f.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			t.Errorf("%s: init", f.fset.Position(fn.Pos()))
		}
	}
	if program {
		return
	}
	for _, call := range f.callsTo("os", "Exit") {
		t.Errorf("%s: exit in a library", f.fset.Position(call.Pos()))
	}
	for _, call := range slices.Concat(f.callsTo("context", "Background"), f.callsTo("context", "TODO")) {
		if !f.commented(call.Pos()) {
			t.Errorf("%s: a background context needs its reason beside it", f.fset.Position(call.Pos()))
		}
	}
}

// commented reports whether a comment stands on the line of pos or the one
// above it.
func (f parsed) commented(pos token.Pos) bool {
	for _, group := range f.file.Comments {
		if f.line(group.Pos()) <= f.line(pos) && f.line(group.End()) >= f.line(pos)-1 {
			return true
		}
	}
	return false
}

// checkGlobals reports package variables that some file of the package
// assigns to after their declaration.
func (f parsed) checkGlobals(t *testing.T, files []parsed) {
	t.Helper()
	for _, d := range f.file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, spec := range decl.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				if name.Name != "_" && slices.ContainsFunc(files, func(g parsed) bool { return g.assigns(name.Name) }) {
					t.Errorf("%s: global %s changes", f.fset.Position(name.Pos()), name.Name)
				}
			}
		}
	}
}

// assigns reports whether the file assigns to a variable of that name that no
// enclosing function declares.
func (f parsed) assigns(name string) bool {
	found := false
	for _, d := range f.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || declares(fn, name) {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch s := n.(type) {
			case *ast.AssignStmt:
				found = found || s.Tok == token.ASSIGN && slices.ContainsFunc(s.Lhs, func(e ast.Expr) bool { return root(e) == name })
			case *ast.IncDecStmt:
				found = found || root(s.X) == name
			}
			return true
		})
	}
	return found
}

// declares reports whether fn has a parameter or local variable of that name.
func declares(fn *ast.FuncDecl, name string) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.Field:
			found = found || slices.ContainsFunc(s.Names, func(i *ast.Ident) bool { return i.Name == name })
		case *ast.AssignStmt:
			found = found || s.Tok == token.DEFINE && slices.ContainsFunc(s.Lhs, func(e ast.Expr) bool { return root(e) == name })
		case *ast.ValueSpec:
			found = found || slices.ContainsFunc(s.Names, func(i *ast.Ident) bool { return i.Name == name })
		case *ast.RangeStmt:
			found = found || s.Tok == token.DEFINE && (root(s.Key) == name || root(s.Value) == name)
		}
		return true
	})
	return found
}

// root gives the variable at the root of x, x[i] and x.f.
func root(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.IndexExpr:
		return root(x.X)
	case *ast.SelectorExpr:
		return root(x.X)
	case *ast.ParenExpr:
		return root(x.X)
	case *ast.StarExpr:
		return root(x.X)
	}
	return ""
}

// TestDocumentedNames wants a comment on every exported name of the library.
func TestDocumentedNames(t *testing.T) {
	for _, p := range packages(t) {
		if levels[domain(p.name())] == 4 {
			continue
		}
		for _, name := range p.GoFiles {
			f := parse(t, p.Dir+"/"+name)
			if generated(f) {
				continue
			}
			for _, d := range f.file.Decls {
				for _, bare := range undocumented(d) {
					if !strings.HasSuffix(name, "_string.go") {
						t.Errorf("%s: %s has no comment", f.fset.Position(bare.Pos()), bare.Name)
					}
				}
			}
		}
	}
}

// undocumented lists the exported names that d declares without a comment. A
// method of an unexported type, and Error, String and Unwrap, need none.
func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		known := d.Recv != nil && (slices.Contains([]string{"Error", "String", "Unwrap"}, d.Name.Name) || !ast.IsExported(root(receiver(d))))
		if d.Name.IsExported() && d.Doc == nil && !known {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		if d.Doc != nil {
			return nil
		}
		var bare []*ast.Ident
		last := "" // a comment may be for the names that it names
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil {
					bare = append(bare, s.Name)
				}
			case *ast.ValueSpec:
				if s.Doc != nil {
					last = s.Doc.Text()
				}
				if s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() && !strings.Contains(last, s.Names[0].Name) {
					bare = append(bare, s.Names[0])
				}
			}
		}
		return bare
	}
	return nil
}

func receiver(d *ast.FuncDecl) ast.Expr {
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	return e
}
