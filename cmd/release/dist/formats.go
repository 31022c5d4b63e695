package dist

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"

	"github.com/edgekit/edgekit/cmd/release/oci"
)

// readConfig reads from the source what the programs write and understand. A store of an older
// format is always read.
func readConfig(source string) (oci.Config, error) {
	format, err := constant(filepath.Join(source, "meta/badgerstore/schema.go"), "schema")
	if err != nil {
		return oci.Config{}, err
	}
	protocol, err := constant(filepath.Join(source, "hub/internal/wire/frame.go"), "ProtocolMax")
	if err != nil {
		return oci.Config{}, err
	}
	c := oci.Config{StoreFormat: format, Protocol: protocol}
	for f := 1; f <= format; f++ {
		c.StoreFormatsRead = append(c.StoreFormatsRead, f)
	}
	return c, nil
}

// constant is the value of an integer constant of a Go file.
func constant(file, name string) (int, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return 0, fmt.Errorf("dist: %w", err)
	}
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.ValueSpec)
			for i, id := range spec.Names {
				if id.Name != name || i >= len(spec.Values) {
					continue
				}
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.INT {
					return strconv.Atoi(lit.Value)
				}
			}
		}
	}
	return 0, fmt.Errorf("dist: %s has no constant %s that is a number", file, name)
}
