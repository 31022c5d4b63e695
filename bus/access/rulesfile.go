package access

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/edgekit/edgekit/bus"
)

const (
	maxRulesFile = 128 << 10
	// maxMarks is how many characters that may begin a value a rules file may have. The YAML
	// parser allocates some hundred bytes for each value.
	maxMarks = 16 << 10
	maxRules = 10_000
)

// entry is one user of a rules file.
type entry struct {
	Name      string   `yaml:"name"`
	Role      string   `yaml:"role"`
	Devices   []string `yaml:"devices"`
	Read      []string `yaml:"read"`
	Protocols []string `yaml:"protocols"`
	Publish   []string `yaml:"publish"`
	Subscribe []string `yaml:"subscribe"`
	ClientIDs []string `yaml:"clientIDs"`
}

// noRules is the ruleSet without a rules file.
func noRules() *ruleSet {
	return &ruleSet{anonymous: everything(), accounts: ownNamespace(), others: everything()}
}

// parseRules reads a rules file. The error has no File.
func parseRules(text []byte) (*ruleSet, *FileError) {
	marks := 0
	for _, c := range text {
		if strings.IndexByte("\n,[{:-?", c) >= 0 {
			marks++
		}
	}
	if len(text) > maxRulesFile || marks > maxMarks {
		return nil, &FileError{Reason: fmt.Sprintf("the file is too large: at most %d bytes and about %d values; use * for many names", maxRulesFile, maxMarks)}
	}
	if i := bytes.IndexByte(text, '&'); i >= 0 && hasAnchor(text) {
		return nil, &FileError{Line: 1 + bytes.Count(text[:i], []byte("\n")), Reason: "YAML anchors (&) are not supported: write the values out"}
	}
	var file struct {
		Users []yaml.Node `yaml:"users"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	set := noRules()
	set.others = nil
	set.exact = make(map[string]*rule)
	for i := range file.Users {
		if err := set.add(&file.Users[i]); err != nil {
			return nil, &FileError{Line: file.Users[i].Line, Reason: err.Error()}
		}
	}
	slices.SortStableFunc(set.beginning, func(a, b beginning) int { return cmp.Compare(len(b.text), len(a.text)) })
	return set, nil
}

// hasAnchor reports whether a & stands where YAML takes it for an anchor.
func hasAnchor(text []byte) bool {
	for i, c := range text {
		if c == '&' && (i == 0 || strings.IndexByte(" \t\n\r[,{", text[i-1]) >= 0) {
			return true
		}
	}
	return false
}

// yamlError takes the line out of an error of the YAML parser.
func yamlError(err error) *FileError {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	if types, ok := errors.AsType[*yaml.TypeError](err); ok && len(types.Errors) > 0 {
		reason = types.Errors[0]
	}
	line := 0
	if n, _ := fmt.Sscanf(reason, "line %d:", &line); n == 1 {
		_, reason, _ = strings.Cut(reason, ": ")
	}
	return &FileError{Line: line, Reason: reason + ": the file is YAML, with a list of users"}
}

var entryFields = []string{"name", "role", "devices", "read", "protocols", "publish", "subscribe", "clientIDs"}

// add adds one entry of the file.
func (s *ruleSet) add(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return errors.New("want an entry with name and role")
	}
	for i := 0; i < len(node.Content); i += 2 {
		if key := node.Content[i].Value; !slices.Contains(entryFields, key) {
			return fmt.Errorf("field %.100q is not known: use %s", key, strings.Join(entryFields, ", "))
		}
	}
	var e entry
	if err := node.Decode(&e); err != nil {
		return errors.New(yamlError(err).Reason)
	}
	r, err := e.rule()
	if err != nil {
		return fmt.Errorf("user %.100q: %w", e.Name, err)
	}
	name, begins := strings.CutSuffix(e.Name, "*")
	switch {
	case e.Name == anonymousName:
		s.anonymous = r
	case s.exact[name] != nil && !begins, begins && slices.ContainsFunc(s.beginning, func(b beginning) bool { return b.text == name }):
		return fmt.Errorf("user %.100q is there twice: make one entry of them", e.Name)
	case begins:
		s.beginning = append(s.beginning, beginning{name, r})
	default:
		s.exact[name] = r
	}
	if len(s.exact)+len(s.beginning) > maxRules {
		return fmt.Errorf("there are more than %d entries", maxRules)
	}
	for _, id := range e.ClientIDs {
		text, idBegins := strings.CutSuffix(id, "*")
		if text == "" || strings.Contains(text, "*") || e.Name == anonymousName {
			return fmt.Errorf("user %.100q: clientIDs has %.100q: use an identifier, or its beginning and *, and not for %s", e.Name, id, anonymousName)
		}
		s.clientIDs = append(s.clientIDs, clientIDs{text, idBegins, name, begins})
	}
	return nil
}

// rule checks an entry and compiles it.
func (e *entry) rule() (*rule, error) {
	r := &rule{protocols: e.Protocols}
	if e.Name == "" || len(e.Name) > maxName || strings.Contains(strings.TrimSuffix(e.Name, "*"), "*") {
		return nil, fmt.Errorf("name must have 1 to %d bytes, and * only at its end", maxName)
	}
	i := slices.Index(roles[:], e.Role)
	if i < 0 {
		return nil, fmt.Errorf("role is %.100q: use mapper, app, admin or none", e.Role)
	}
	r.role = role(i)
	if (r.role == roleNone || r.role == roleAdmin) && len(e.Devices)+len(e.Read)+len(e.Protocols)+len(e.Publish)+len(e.Subscribe) > 0 {
		return nil, fmt.Errorf("role %s takes no devices, read, protocols, publish and subscribe: remove them, or use role mapper or app", e.Role)
	}
	if r.role == roleMapper && len(e.Devices)+len(e.Protocols) == 0 {
		return nil, errors.New(`role mapper needs devices or protocols: for all devices write devices: ["*/*"]`)
	}
	if r.role == roleApp && len(e.Protocols) > 0 {
		return nil, errors.New("protocols is for role mapper: give an app devices")
	}
	if slices.Contains(e.Protocols, "") {
		return nil, errors.New("protocols has an empty name: remove it")
	}
	var err error
	if r.devices, err = patterns("devices", e.Devices); err != nil {
		return nil, err
	}
	if r.read, err = patterns("read", e.Read); err != nil {
		return nil, err
	}
	if r.publish, err = filters("publish", e.Publish); err != nil {
		return nil, err
	}
	r.subscribe, err = filters("subscribe", e.Subscribe)
	return r, err
}

func patterns(field string, all []string) ([]pattern, error) {
	var out []pattern
	for _, text := range all {
		namespace, name, ok := strings.Cut(text, "/")
		var p pattern
		p.namespace, p.namespaceAny = strings.CutSuffix(namespace, "*")
		p.name, p.nameAny = strings.CutSuffix(name, "*")
		if !ok || namespace == "" || name == "" || strings.ContainsAny(p.namespace+p.name, "*/+#") {
			return nil, fmt.Errorf("%s has %.100q: use NAMESPACE/NAME, with * only at the end of a part", field, text)
		}
		out = append(out, p)
	}
	return out, nil
}

func filters(field string, all []string) ([]string, error) {
	for _, f := range all {
		if err := bus.ValidateFilter(f); err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		if strings.HasPrefix(f, "$share/") || strings.HasPrefix(f, "$SYS/") {
			return nil, fmt.Errorf("%s has %.100q: name the topics without $share; $SYS has none", field, f)
		}
		if first, _, _ := strings.Cut(f, "/"); first == "$hw" && !strings.HasPrefix(f, uploadPrefix) && !isUpgradeFilter(f) {
			return nil, fmt.Errorf("%s has %.100q: topics of devices follow from role and devices; below $hw only %s and %sNODE/upgrade/ can be named", field, f, uploadPrefix, nodePrefix)
		}
	}
	return all, nil
}
