package eventstest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Emission is one place in the code that emits an Event.
type Emission struct {
	Package string // its folder, from the root
	Kind    string // "Normal" or "Warning"
	Object  string // "Pod" or "Node" where the call says so, else ""
	Reason  string // "" if it is not a constant
	Expr    string // the expression of the reason
}

// domains are the folders whose programs emit Events.
var domains = []string{"bus", "cmd/cloudcore", "cmd/edgecore", "controller", "device", "edged", "hub", "meta", "twin"}

const module = "github.com/edgekit/edgekit/"

// Scan finds all emissions below root. A place that emits an Event names corev1.EventTypeNormal or
// corev1.EventTypeWarning right before the reason: in a call, in what is returned, or as the fields Type
// and Reason of an Event. A call of Event with another argument before the reason emits a warning.
func Scan(root string) ([]Emission, error) {
	s := scanner{files: token.NewFileSet(), constants: make(map[string]map[string]string)}
	parsed := make(map[string][]*ast.File)
	for _, domain := range domains {
		err := filepath.WalkDir(filepath.Join(root, domain), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(filepath.Dir(name), "test") {
				return nil
			}
			f, err := parser.ParseFile(s.files, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			dir, err := filepath.Rel(root, filepath.Dir(name))
			if err != nil {
				return err
			}
			dir = filepath.ToSlash(dir)
			parsed[dir] = append(parsed[dir], f)
			s.addConstants(dir, f)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for dir, all := range parsed {
		for _, f := range all {
			s.scanFile(dir, f)
		}
	}
	slices.SortFunc(s.found, func(a, b Emission) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(s.found), nil
}

type scanner struct {
	files     *token.FileSet
	constants map[string]map[string]string // values by folder and name
	found     []Emission
}

// addConstants remembers the constants of a file that are strings.
func (s *scanner) addConstants(dir string, f *ast.File) {
	if s.constants[dir] == nil {
		s.constants[dir] = make(map[string]string)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if i >= len(v.Values) {
					continue
				}
				if text, ok := literal(v.Values[i]); ok {
					s.constants[dir][name.Name] = text
				}
			}
		}
	}
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

// kindOf reads corev1.EventTypeNormal and corev1.EventTypeWarning.
func kindOf(e ast.Expr) (string, bool) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	kind, ok := strings.CutPrefix(sel.Sel.Name, "EventType")
	return kind, ok && (kind == "Normal" || kind == "Warning")
}

func (s *scanner) scanFile(dir string, f *ast.File) {
	imports := make(map[string]string) // folders of our own packages by their names in the file
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil || !strings.HasPrefix(p, module) {
			continue
		}
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		imports[name] = strings.TrimPrefix(p, module)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s.scanList(dir, imports, n.Args, objectOf(n.Fun))
			s.scanWarning(dir, imports, n)
		case *ast.ReturnStmt:
			s.scanList(dir, imports, n.Results, "")
		case *ast.CompositeLit:
			s.scanFields(dir, imports, n)
			s.scanList(dir, imports, n.Elts, "")
		}
		return true
	})
}

// objectOf says what object an Event of the agent's recorder is about.
func objectOf(fun ast.Expr) string {
	sel, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	switch sel.Sel.Name {
	case "Pod", "Container", "PodEvent":
		return "Pod"
	case "Node", "NodeEvent":
		return "Node"
	}
	return ""
}

// scanList looks for a kind with a reason behind it.
func (s *scanner) scanList(dir string, imports map[string]string, list []ast.Expr, object string) {
	for i, e := range list {
		if kind, ok := kindOf(e); ok && i+1 < len(list) {
			s.add(dir, imports, kind, list[i+1], object)
		}
	}
}

// scanWarning looks for calls of functions named Event or recordStoreEvent that have no kind, and emit
// warnings: their reason is a constant.
func (s *scanner) scanWarning(dir string, imports map[string]string, call *ast.CallExpr) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Event" && sel.Sel.Name != "recordStoreEvent" {
		return
	}
	for _, e := range call.Args {
		if _, ok := kindOf(e); ok {
			return // scanList has it
		}
	}
	for _, e := range call.Args {
		if text, ok := literal(e); ok && text != "" && !strings.ContainsAny(text, " %") {
			s.add(dir, imports, "Warning", e, "")
			return
		}
	}
}

// scanFields looks for the fields Type and Reason of an Event.
func (s *scanner) scanFields(dir string, imports map[string]string, lit *ast.CompositeLit) {
	kind, reason, object := "", ast.Expr(nil), ""
	for _, e := range lit.Elts {
		field, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		name, ok := field.Key.(*ast.Ident)
		if !ok {
			continue
		}
		switch name.Name {
		case "Type":
			if k, ok := kindOf(field.Value); ok {
				kind = k
			}
		case "Reason":
			reason = field.Value
		}
	}
	if kind != "" && reason != nil {
		s.add(dir, imports, kind, reason, object)
	}
}

func (s *scanner) add(dir string, imports map[string]string, kind string, reason ast.Expr, object string) {
	var text strings.Builder
	_ = printer.Fprint(&text, s.files, reason) // into memory
	s.found = append(s.found, Emission{Package: dir, Kind: kind, Object: object, Reason: s.value(dir, imports, reason), Expr: text.String()})
}

// value is that of a constant expression; "" for any other.
func (s *scanner) value(dir string, imports map[string]string, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := literal(e)
		return text
	case *ast.Ident:
		return s.constants[dir][e.Name]
	case *ast.SelectorExpr:
		if pkg, ok := e.X.(*ast.Ident); ok {
			return s.constants[imports[pkg.Name]][e.Sel.Name]
		}
	}
	return ""
}
