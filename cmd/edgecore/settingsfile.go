package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/edgekit/edgekit/cmd/internal/kubeedgeconfig"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// settingsFile changes edgecore's configuration file for jobs: a jobs.Settings.
type settingsFile struct {
	*upgrade.Settings
	args []string // of this process
}

// fixed are the settings that a job cannot change, and why.
func fixed() map[string]string {
	const lost = "what the node must remember is there, and would not be found any more"
	return map[string]string{
		"data-dir": lost, "store-key": lost,
		"upgrade-trust": "whom the node trusts is decided at the machine",
		"upgrades":      "without it nothing on the node judges the change",
	}
}

// Check reads the file as it would be, as this program does at its start.
func (s *settingsFile) Check(set map[string]string) (changes bool, err error) {
	_, changes, err = s.edit(set)
	return changes, err
}

// Switch has the next start try the file.
func (s *settingsFile) Switch(ctx context.Context, id string, set map[string]string, h upgrade.Health) error {
	if state := s.State(); state.Phase == upgrade.Trial && state.ID == id {
		return nil
	}
	text, _, err := s.edit(set)
	if err != nil {
		return err
	}
	name, err := s.name()
	if err != nil {
		return err
	}
	return s.Settings.Switch(ctx, id, name, text, h)
}

// name is the absolute path of the file. Where edgecore.yaml is a link it is the file that the link
// leads to: a link must stay one.
func (s *settingsFile) name() (string, error) {
	name, err := filepath.Abs(configFile(s.args))
	if err != nil {
		return "", err
	}
	target, err := filepath.EvalSymlinks(name)
	if err == nil {
		return target, nil
	}
	if _, linkErr := os.Lstat(name); errors.Is(err, fs.ErrNotExist) && linkErr == nil {
		return "", fmt.Errorf("%s is a link to nothing: make the file, or remove the link", name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return name, nil // the first settings make it
	}
	return "", err
}

// edit gives the content of the file with other values, and checks it whole.
func (s *settingsFile) edit(set map[string]string) (text []byte, changes bool, err error) {
	all, err := ownSettings(set)
	if err != nil {
		return nil, false, err
	}
	names := slices.Sorted(maps.Keys(all))
	for _, key := range names {
		if why, ok := fixed()[key]; ok {
			return nil, false, fmt.Errorf("%s cannot be changed by a job: %s", key, why)
		}
	}
	set, unset := splitSettings(all)
	name, err := s.name()
	if err != nil {
		return nil, false, err
	}
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	changes = slices.ContainsFunc(names, func(key string) bool { return program.FileSetting(name, key) != set[key] })
	if text, err = program.EditConfig(name, old, set, unset); err != nil {
		return nil, false, err
	}
	return text, changes, s.check(text, names)
}

// check reads the new content as edgecore does at its start.
func (s *settingsFile) check(text []byte, changed []string) error {
	f, err := os.CreateTemp("", "edgecore-*.yaml") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // a temporary file
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	c := &cli{}
	p := c.program()
	p.Stdout, p.Stderr = io.Discard, io.Discard
	err = p.CheckStart(s.args, f.Name(), changed)
	if unknown, ok := errors.AsType[*program.UnknownSettingError](err); ok {
		return &jobs.UnknownKeyError{Key: unknown.Setting, Remedy: fmt.Sprintf("did you mean %s?", unknown.Nearest)}
	}
	return err
}

// noValue is the value of a setting that is to be removed from the file, as in Helm's --set.
const noValue = "null"

// splitSettings gives the settings to set and those to remove. {a,b} is a list, as in Helm's --set.
func splitSettings(all map[string]string) (set map[string]string, unset []string) {
	set = make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		value := all[key]
		if value == noValue {
			unset = append(unset, key)
			continue
		}
		if inner, ok := strings.CutPrefix(value, "{"); ok && strings.HasSuffix(inner, "}") {
			value = strings.TrimSuffix(inner, "}")
		}
		set[key] = value
	}
	return set, unset
}

// ownSettings gives the settings of edgekit for keys of a job: its own are as they are, those of
// KubeEdge's edgecore.yaml, which have dots, are converted. One without a twin is an
// *jobs.UnknownKeyError.
func ownSettings(all map[string]string) (map[string]string, error) {
	own := make(map[string]string, len(all))
	foreign := make(map[string]any)
	for key, value := range all {
		if !strings.Contains(key, ".") {
			own[key] = value
			continue
		}
		if err := nest(foreign, strings.Split(key, "."), value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	if len(foreign) == 0 {
		return own, nil
	}
	foreign["apiVersion"], foreign["kind"] = "edgecore.config.kubeedge.io/v1alpha2", "EdgeCore"
	text, err := yaml.Marshal(foreign)
	if err != nil {
		return nil, err
	}
	result, err := kubeedgeconfig.Convert("updateFields", text)
	if err != nil {
		return nil, err
	}
	for _, note := range result.Notes {
		return nil, &jobs.UnknownKeyError{Key: note.Field, Remedy: note.Reason}
	}
	for _, secret := range result.Secrets {
		return nil, &jobs.UnknownKeyError{Key: secret.Field, Remedy: "a job carries no secrets: put it into a file on the node"}
	}
	for name, value := range result.Settings {
		if _, both := own[name]; both {
			return nil, fmt.Errorf("%s is set twice, by its own name and by that of KubeEdge", name)
		}
		switch v := value.(type) {
		case []string:
			own[name] = strings.Join(v, ",")
		case string:
			own[name] = v
		default:
			return nil, fmt.Errorf("%s: write it by its own name: NAME=VALUE, several are separated by semicolons", name)
		}
	}
	return own, nil
}

// nest puts a value into a tree of YAML.
func nest(tree map[string]any, path []string, value string) error {
	for _, part := range path[:len(path)-1] {
		below, ok := tree[part].(map[string]any)
		if !ok {
			if tree[part] != nil || part == "" {
				return errors.New("the path is within another key")
			}
			below = make(map[string]any)
			tree[part] = below
		}
		tree = below
	}
	last := path[len(path)-1]
	if _, ok := tree[last].(map[string]any); ok || last == "" {
		return errors.New("other keys are within the path")
	}
	var plain any
	if yaml.Unmarshal([]byte(value), &plain) != nil {
		plain = value
	}
	tree[last] = plain
	return nil
}
