package edgekit_test

import (
	"go/ast"
	"go/token"
	"io/fs"
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
// constants and files to the field's own words, for every platform and in the nested
// modules too.
func TestNamesArePlain(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && path == "bin" {
			return fs.SkipDir // what builds leave there is not ours
		}
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		if word := retiredWord(strings.TrimSuffix(entry.Name(), ".go")); word != "" {
			t.Errorf("%s: the file's name has %q: say %s", path, word, retired[word])
		}
		f := parse(t, path)
		for _, id := range declared(f.file) {
			if word := retiredWord(id.Name); word != "" {
				t.Errorf("%s: %s has %q: say %s", f.fset.Position(id.Pos()), id.Name, word, retired[word])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// declared gives the identifiers that a file declares.
func declared(file *ast.File) (names []*ast.Ident) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			names = append(names, n.Name)
		case *ast.TypeSpec:
			names = append(names, n.Name)
		case *ast.ValueSpec:
			names = append(names, n.Names...)
		case *ast.Field:
			names = append(names, n.Names...)
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					names = append(names, id)
				}
			}
		}
		return true
	})
	return names
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

// TestLogKeyOfErrors holds all logs to the key "err" for an error, as Kubernetes' have it:
// who searches logs of two components needs one word.
func TestLogKeyOfErrors(t *testing.T) {
	levels := []string{"Debug", "Info", "Warn", "Error", "warn"}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		f := parse(t, path)
		ast.Inspect(f.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || !slices.Contains(levels, sel.Sel.Name) {
				return true
			}
			for _, arg := range call.Args {
				if key, ok := arg.(*ast.BasicLit); ok && key.Value == `"error"` {
					t.Errorf("%s: the key of an error in logs is \"err\"", f.fset.Position(key.Pos()))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
