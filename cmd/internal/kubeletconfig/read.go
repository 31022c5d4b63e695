package kubeletconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits of what is read: one file, all files of the folder, and the errors that one
// message names.
const (
	maxFile   = 1 << 20
	maxFiles  = 1000
	maxErrors = 8
)

// The only version that there is.
const (
	apiVersion = "kubelet.config.k8s.io/v1beta1"
	kind       = "KubeletConfiguration"
)

// value is what a file has for a field. Its kind decides which of the members counts.
type value struct {
	text  string
	list  []string
	pairs map[string]string
	multi map[string][]string
	items []map[string]value // of a list of structs, by the names of their fields
	zero  bool               // the zero value of its type
	file  string
	line  int
}

// where is the place of the value for an error.
func (v value) where() string { return fmt.Sprintf("%s:%d", v.file, v.line) }

// shape is a struct of the type: its fields and nested structs by name.
type shape struct {
	fields map[string]*Field
	nested map[string]*shape
	lists  map[string]*shape // of structs
}

func newShape() *shape {
	return &shape{fields: make(map[string]*Field), nested: make(map[string]*shape), lists: make(map[string]*shape)}
}

// shapes makes the tree of all fields.
func shapes(fields []Field) *shape {
	root := newShape()
	for i := range fields {
		at := root
		parts := strings.Split(fields[i].Path, ".")
		for _, part := range parts[:len(parts)-1] {
			kids := at.nested
			name, isList := strings.CutSuffix(part, "[]")
			if isList {
				kids = at.lists
			}
			if kids[name] == nil {
				kids[name] = newShape()
			}
			at = kids[name]
		}
		at.fields[parts[len(parts)-1]] = &fields[i]
	}
	return root
}

// reader reads one file.
type reader struct {
	file  string
	out   map[string]value // by path; a null is a value without a file
	wrong []error
}

func (r *reader) refuse(n *yaml.Node, format string, args ...any) {
	if len(r.wrong) < maxErrors {
		r.wrong = append(r.wrong, fmt.Errorf("%s:%d: %w", r.file, n.Line, fmt.Errorf(format, args...)))
	}
}

// readFile reads a file into the values of its fields.
func readFile(name string, root *shape) (map[string]value, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: over %d bytes: not a KubeletConfiguration", name, maxFile)
	}
	return parse(name, text, root)
}

// parse reads YAML, of which JSON is a part.
func parse(name string, text []byte, root *shape) (map[string]value, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s: correct the YAML", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: want an object with apiVersion: %s and kind: %s", name, apiVersion, kind)
	}
	r := &reader{file: name, out: make(map[string]value)}
	r.object(doc.Content[0], root, "", r.out)
	if v, k := r.out["apiVersion"].text, r.out["kind"].text; v != apiVersion || k != kind {
		return nil, fmt.Errorf("%s: it is a %q of %q: want kind: %s of apiVersion: %s", name, k, v, kind, apiVersion)
	}
	delete(r.out, "apiVersion")
	delete(r.out, "kind")
	return r.out, errors.Join(r.wrong...)
}

// object reads the fields of a struct; prefix is the path of the struct with a dot.
func (r *reader) object(n *yaml.Node, s *shape, prefix string, out map[string]value) {
	if n.Kind != yaml.MappingNode {
		r.refuse(n, "%s: want an object", strings.TrimSuffix(prefix, "."))
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		path := prefix + key.Value
		if seen[key.Value] {
			r.refuse(key, "%s is given twice: leave one out", path)
			continue
		}
		seen[key.Value] = true
		if val.Kind == yaml.AliasNode {
			val = val.Alias
		}
		field, nested, list := s.fields[key.Value], s.nested[key.Value], s.lists[key.Value]
		switch {
		case prefix == "" && (key.Value == "apiVersion" || key.Value == "kind"):
			out[key.Value] = value{text: val.Value}
		case field == nil && nested == nil && list == nil:
			r.refuse(key, "unknown field %s%s: correct or remove it", path, s.similar(key.Value))
		case val.Tag == "!!null":
			out[path] = value{}
		case nested != nil:
			r.object(val, nested, path+".", out)
		case list != nil:
			r.items(val, list, path, out)
		default:
			if v, ok := r.leaf(val, field, path); ok {
				out[path] = v
			}
		}
	}
}

// similar names a field that differs in upper and lower case only.
func (s *shape) similar(name string) string {
	for _, known := range []iter.Seq[string]{maps.Keys(s.fields), maps.Keys(s.nested), maps.Keys(s.lists)} {
		for k := range known {
			if strings.EqualFold(k, name) {
				return ", did you mean " + k + "?"
			}
		}
	}
	return ""
}

// items reads a list of structs.
func (r *reader) items(n *yaml.Node, s *shape, path string, out map[string]value) {
	if n.Kind != yaml.SequenceNode {
		r.refuse(n, "%s: want a list", path)
		return
	}
	v := value{file: r.file, line: n.Line}
	for i, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		read := make(map[string]value)
		prefix := fmt.Sprintf("%s[%d].", path, i)
		r.object(item, s, prefix, read)
		fields := make(map[string]value)
		for k, field := range read {
			fields[strings.TrimPrefix(k, prefix)] = field
		}
		v.items = append(v.items, fields)
	}
	out[path] = v
}

// dropIns lists the *.conf files of a folder and those below it, in the order of their names.
func dropIns(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() && filepath.Ext(path) == ".conf" {
			out = append(out, path)
		}
		if len(out) > maxFiles {
			return fmt.Errorf("%s: over %d files: name the folder of the drop-in files", dir, maxFiles)
		}
		return nil
	})
	return out, err
}
