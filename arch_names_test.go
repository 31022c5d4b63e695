package edgekit_test

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// retired are the words that the project no longer uses in names, with those that
// took their place: CONTRIBUTING.md has the glossary.
var retired = map[string]string{
	"asnode": "impersonate", "bury": "remove", "buried": "removed", "deaf": "unresponsive", "door": "limiter", "expel": "close", "farewell": "close, go away",
	"figures": "metrics", "ghost": "orphan", "ghosts": "orphans", "herd": "burst", "joiner": "what it does: bridge, syncer", "lively": "alive", "lobby": "queue, backlog",
	"news": "change, event", "owed": "pending", "parted": "closed", "pay": "flush", "poke": "wake", "presence": "node lifecycle", "seat": "claim", "seats": "registry",
	"tell": "a verb with an object: sendState", "told": "what was sent or reported", "tenant": "holder", "wish": "desired", "wishes": "desired",
}

// TestNamesArePlain holds the names of types, functions, methods, fields, variables,
// constants and files to the field's own words.
func TestNamesArePlain(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, name)
			if word := retiredWord(strings.TrimSuffix(name, ".go")); word != "" {
				t.Errorf("%s: the file's name has %q: say %s", path, word, retired[word])
			}
			f := parse(t, path)
			for id := range declared(f.file) {
				if word := retiredWord(id.Name); word != "" {
					t.Errorf("%s: %s has %q: say %s", f.fset.Position(id.Pos()), id.Name, word, retired[word])
				}
			}
		}
	}
}

// declared gives the identifiers that a file declares.
func declared(file *ast.File) func(yield func(*ast.Ident) bool) {
	return func(yield func(*ast.Ident) bool) {
		ast.Inspect(file, func(n ast.Node) bool {
			var names []*ast.Ident
			switch n := n.(type) {
			case *ast.FuncDecl:
				names = []*ast.Ident{n.Name}
			case *ast.TypeSpec:
				names = []*ast.Ident{n.Name}
			case *ast.ValueSpec:
				names = n.Names
			case *ast.Field:
				names = n.Names
			case *ast.AssignStmt:
				if n.Tok == token.DEFINE {
					for _, e := range n.Lhs {
						if id, ok := e.(*ast.Ident); ok {
							names = append(names, id)
						}
					}
				}
			}
			for _, id := range names {
				if !yield(id) {
					return false
				}
			}
			return true
		})
	}
}

// retiredWord gives the first retired word in a name, which may be in camel case or
// have underscores; "" if there is none.
func retiredWord(name string) string {
	var words []string
	start := 0
	for i, r := range name {
		if r == '_' || i > 0 && unicode.IsUpper(r) {
			words = append(words, name[start:i])
			start = i
		}
	}
	for _, w := range append(words, name[start:]) {
		w = strings.ToLower(strings.Trim(w, "_"))
		if _, ok := retired[w]; ok {
			return w
		}
	}
	return ""
}

func TestRetiredWord(t *testing.T) {
	for name, want := range map[string]string{
		"tellSender": "tell", "seat": "seat", "SeatAnnotation": "seat", "probe_figures": "figures", "intell": "", "newsletter": "", "x": "", "goTell": "tell",
	} {
		if got := retiredWord(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
