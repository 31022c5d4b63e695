package program

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MarshalConfig writes a configuration file. A value is a string, a []string or a
// map[string]string.
func MarshalConfig(settings map[string]any) ([]byte, error) { return yaml.Marshal(settings) }

// EditConfig returns the configuration file text with settings changed and removed; comments
// and the order of lines stay. name is the file's, for errors. A value in set is as on the
// command line. Whether a setting exists is not checked.
func EditConfig(name string, text []byte, set map[string]string, unset []string) ([]byte, error) {
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%s: over %d bytes: not a configuration file", name, maxConfig)
	}
	for _, key := range unset {
		if _, both := set[key]; both {
			return nil, fmt.Errorf("%s: both set and unset: leave one out", key)
		}
	}
	before, err := parseYAML(name, text)
	if err != nil {
		return nil, err
	}
	lines := newLines(text)
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if err := lines.set(name, before, key, set[key]); err != nil {
			return nil, err
		}
	}
	for _, key := range unset {
		if _, ok := before.values[key]; ok {
			if lines.replace(before, key, nil); lines.bad {
				break
			}
		}
	}
	out := lines.text()
	if after, err := parseYAML(name, out); lines.bad || err != nil || !edited(before, after, set, unset) {
		return nil, fmt.Errorf("%s: its form does not allow to change one line of it: write each setting as 'name: value' on a line of its own", name)
	}
	return out, nil
}

// edited reports whether a file is as it was, but for what was changed.
func edited(before, after *file, set map[string]string, unset []string) bool {
	want := make(map[string]bool)
	for key, node := range before.values {
		if _, changed := set[key]; changed || slices.Contains(unset, key) {
			continue
		}
		now := after.values[key]
		if now == nil || !sameNode(node, now) {
			return false
		}
		want[key] = true
	}
	for key, value := range set {
		now := after.values[key]
		if now == nil || now.Kind != yaml.ScalarNode || now.Value != value || now.Tag == "!!null" {
			return false
		}
		want[key] = true
	}
	return len(want) == len(after.values)
}

func sameNode(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || a.Tag != b.Tag || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !sameNode(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// fileLines are the lines of a file while settings are changed. A line that is removed is nil,
// so that the numbers stay.
type fileLines struct {
	lines [][]string // what stands in the place of each line, and then what is added
	given int        // lines of the file
	bad   bool       // a setting is not on lines of its own
}

func newLines(text []byte) *fileLines {
	l := &fileLines{}
	if len(text) == 0 {
		return l
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		l.lines = append(l.lines, []string{line})
	}
	l.given = len(l.lines)
	return l
}

func (l *fileLines) text() []byte {
	var out strings.Builder
	for _, line := range slices.Concat(l.lines...) {
		out.WriteString(line + "\n")
	}
	return []byte(out.String())
}

// set changes a setting, or adds it: below the comment that shows it, or at the end.
func (l *fileLines) set(name string, f *file, key, value string) error {
	if strings.ContainsAny(key, " \t\n:#\"'{}[]") || key == "" {
		return fmt.Errorf("%s: %q is not the name of a setting", name, key)
	}
	line, err := settingLine(key, value)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", name, key, err)
	}
	if node, ok := f.values[key]; ok {
		if node.LineComment != "" && node.Kind == yaml.ScalarNode {
			line += " " + node.LineComment
		}
		l.replace(f, key, []string{line})
		return nil
	}
	for i, old := range l.lines {
		if len(old) == 1 && strings.HasPrefix(old[0], "# "+key+":") {
			l.lines[i] = append(old, line)
			return nil
		}
	}
	l.lines = append(l.lines, []string{line})
	return nil
}

// settingLine is a setting in a file: plain if that means the same.
func settingLine(key, value string) (string, error) {
	plain := key + ": " + value
	if f, err := parseYAML("", []byte(plain)); err == nil && !strings.ContainsAny(value, "\n\r") {
		if n := f.values[key]; n != nil && n.Kind == yaml.ScalarNode && n.Tag != "!!null" && n.Value == value && n.Anchor == "" && n.LineComment == "" {
			return plain, nil
		}
	}
	quoted, err := yaml.Marshal(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: value})
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(string(quoted), "\n")
	if strings.Contains(text, "\n") {
		return "", errors.New("its value is too long for a line")
	}
	return key + ": " + text, nil
}

// replace puts lines in the place of a setting's, from its name to the line before the next
// setting and its comments.
func (l *fileLines) replace(f *file, key string, with []string) {
	at := slices.IndexFunc(f.keys, func(n *yaml.Node) bool { return n.Value == key })
	first, end := f.keys[at].Line-1, l.given
	if at+1 < len(f.keys) {
		end = f.keys[at+1].Line - 1
	}
	if f.keys[at].Column != 1 || end <= first || end > l.given {
		l.bad = true
		return
	}
	last := end
	for last > first+1 && apart(l.lines[last-1]) {
		last--
	}
	for i := first; i < last; i++ {
		l.lines[i] = nil
	}
	l.lines[first] = with
}

// apart reports whether a line belongs to no setting: a comment, an empty line, the end of a
// document.
func apart(line []string) bool {
	for _, text := range line {
		text = strings.TrimRight(text, " \t\r")
		if text != "" && !strings.HasPrefix(text, "#") && text != "..." {
			return false
		}
	}
	return true
}

// WriteConfig writes a file whole or not at all, durably, and makes its folder. A file
// that is there keeps its mode; its owner is the caller's. It returns "created", "configured"
// or "unchanged".
func WriteConfig(path string, text []byte, mode os.FileMode) (string, error) {
	outcome := "configured"
	old, err := os.ReadFile(path)
	switch {
	case err == nil && string(old) == string(text):
		return "unchanged", nil
	case err == nil:
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		mode = info.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", err
		}
	case errors.Is(err, os.ErrNotExist):
		outcome = "created"
	default:
		return "", err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as packages make it
		return "", err
	}
	if err := writeWhole(dir, path, text, mode); err != nil {
		return "", fmt.Errorf("%s: %w: the file is as it was", path, err)
	}
	return outcome, nil
}

// writeWhole writes a file beside path, and renames it.
func writeWhole(dir, path string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // there is none after the rename
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	_ = folder.Sync() // some file systems have none
	return nil
}
