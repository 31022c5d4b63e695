package kubeletconfig

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting is a setting of edgecore with the value of a field.
type Setting struct {
	Field string // its path
	File  string // that has it, with the line
	Value any    // a string, []string or map[string]string
}

// Config is what the files say.
type Config struct {
	Settings map[string]Setting // by the names of edgecore's flags

	unused map[Use][]string // "field: reason", sorted
}

// Load reads a file and the folder of its drop-in files; either may be "".
func Load(file, dir string) (*Config, error) {
	files := []string{file}
	if file == "" {
		files = nil
	}
	if dir != "" {
		more, err := dropIns(dir)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	fields := Fields()
	root := shapes(fields)
	all := make(map[string]value)
	for _, name := range files {
		name, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		read, err := readFile(name, root)
		if err != nil {
			return nil, err
		}
		merge(all, read)
	}
	if err := contradictions(all); err != nil {
		return nil, err
	}
	return decide(fields, all), nil
}

// FromNode reads the fields of a KubeletConfiguration from a YAML mapping without apiVersion and
// kind, which is a part of another file; name is that file's.
func FromNode(name string, n *yaml.Node) (*Config, error) {
	fields := Fields()
	r := &reader{file: name, out: make(map[string]value)}
	r.object(n, shapes(fields), "", r.out)
	if err := errors.Join(r.wrong...); err != nil {
		return nil, err
	}
	if err := contradictions(r.out); err != nil {
		return nil, err
	}
	return decide(fields, r.out), nil
}

// UnusedField is a field that has no effect.
type UnusedField struct {
	Field string // its path
	Use   Use
	Why   string
}

// UnusedFields lists the fields of the files that have no effect, sorted by Use and path.
func (c *Config) UnusedFields() []UnusedField {
	var out []UnusedField
	for _, use := range slices.Sorted(maps.Keys(c.unused)) {
		for _, text := range slices.Sorted(slices.Values(c.unused[use])) {
			field, why, _ := strings.Cut(text, ": ")
			out = append(out, UnusedField{field, use, why})
		}
	}
	return out
}

// decide sorts the values into settings and what is not used.
func decide(fields []Field, all map[string]value) *Config {
	out := &Config{Settings: make(map[string]Setting), unused: make(map[Use][]string)}
	done := make(map[string]bool)
	for _, f := range fields {
		path, _, isItem := strings.Cut(f.Path, "[]")
		v, ok := all[path]
		if !ok || v.file == "" || v.zero || isItem && len(v.items) == 0 || done[path] {
			continue
		}
		if path == "resolvConf" && v.text == "" {
			f.Use, f.Why = Unsupported, "an empty name: pods with the DNS policy Default always have the machine's servers"
		}
		if f.Use == Used && f.Flag != "" {
			out.Settings[f.Flag] = Setting{Field: path, File: v.where(), Value: v.setting(path)}
			done[path] = true
			continue
		}
		if isItem && f.Use == Used {
			continue
		}
		why := f.Why
		if f.Use == NotYet {
			why = "the setting --" + f.Flag + " is not there yet"
		}
		if f.Kind == BoolMap {
			why += fmt.Sprintf(" (%s)", strings.Join(slices.Sorted(maps.Keys(v.pairs)), ", "))
		}
		out.unused[f.Use] = append(out.unused[f.Use], path+": "+why)
		done[path] = true
	}
	return out
}

// setting is the value in the form of edgecore's flag.
func (v value) setting(path string) any {
	dir := filepath.Dir(v.file)
	switch path {
	case "staticPodPath", "resolvConf": // as a kubelet: relative to the file
		if !filepath.IsAbs(v.text) {
			return filepath.Join(dir, v.text)
		}
		return v.text
	case "registerWithTaints":
		return each(v.items, func(t map[string]value) string {
			name := t["key"].text
			if t["value"].text != "" {
				name += "=" + t["value"].text
			}
			return name + ":" + t["effect"].text
		})
	case "reservedMemory":
		return each(v.items, func(m map[string]value) string {
			var limits []string
			for _, name := range slices.Sorted(maps.Keys(m["limits"].pairs)) {
				limits = append(limits, name+"="+m["limits"].pairs[name])
			}
			return cmp.Or(m["numaNode"].text, "0") + ":" + strings.Join(limits, ",")
		})
	case "shutdownGracePeriodByPodPriority":
		out := make(map[string]string)
		for _, p := range v.items {
			out[cmp.Or(p["priority"].text, "0")] = cmp.Or(p["shutdownGracePeriodSeconds"].text, "0") + "s"
		}
		return out
	case "staticPodURLHeader":
		var out []string
		for _, name := range slices.Sorted(maps.Keys(v.multi)) {
			for _, text := range v.multi[name] {
				out = append(out, name+":"+text)
			}
		}
		return out
	case "enforceNodeAllocatable":
		if len(v.list) == 0 {
			return []string{"none"}
		}
	}
	switch {
	case v.list != nil:
		return v.list
	case v.pairs != nil:
		return v.pairs
	}
	return v.text
}

func each(items []map[string]value, text func(map[string]value) string) []string {
	var out []string
	for _, item := range items {
		out = append(out, text(item))
	}
	return out
}

// groups are the kinds of fields that edgecore does not use, as they are logged.
var groups = [...]struct {
	use  Use
	text string
}{
	{NotYet, "fields of the kubelet's configuration that edgecore does not use yet"},
	{Otherwise, "fields of the kubelet's configuration that are set in another way"},
	{NotNeeded, "fields of the kubelet's configuration that edgecore does not need"},
	{Unsupported, "fields of the kubelet's configuration that edgecore does not support"},
}

// Unused logs which fields of the files have no effect and why, one line for each kind.
func (c *Config) Unused(log *slog.Logger) {
	for _, g := range groups {
		if list := c.unused[g.use]; len(list) > 0 {
			level := log.Info
			if g.use == Unsupported || g.use == NotYet {
				level = log.Warn
			}
			level(g.text, "fields", strings.Join(list, "; "))
		}
	}
}

// contradictions checks the fields that a kubelet checks together. What edgecore checks
// about its own settings is not repeated here.
func contradictions(all map[string]value) error {
	var wrong []error
	refuse := func(path, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s: %s: %s", all[path].where(), path, fmt.Sprintf(format, args...)))
	}
	for _, check := range []func(map[string]value, refuser){checkPulls, checkShutdown, checkRanges, checkOthers} {
		check(all, refuse)
	}
	return errors.Join(wrong...)
}
