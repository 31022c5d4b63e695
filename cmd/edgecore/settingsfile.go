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
	return map[string]string{"data-dir": lost, "store-key": lost, "upgrade-trust": "whom the node trusts is decided at the machine"}
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

// name is the absolute path of the file.
func (s *settingsFile) name() (string, error) { return filepath.Abs(configFile(s.args)) }

// edit gives the content of the file with other values, and checks it whole.
func (s *settingsFile) edit(set map[string]string) (text []byte, changes bool, err error) {
	set, err = ownSettings(set)
	if err != nil {
		return nil, false, err
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if why, ok := fixed()[key]; ok {
			return nil, false, fmt.Errorf("%s cannot be changed by a job: %s", key, why)
		}
	}
	name, err := s.name()
	if err != nil {
		return nil, false, err
	}
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	changes = slices.ContainsFunc(slices.Collect(maps.Keys(set)), func(key string) bool { return program.FileSetting(name, key) != set[key] })
	if text, err = program.EditConfig(name, old, set); err != nil {
		return nil, false, err
	}
	return text, changes, s.check(text, slices.Sorted(maps.Keys(set)))
}

// check reads the new content as edgecore does at its start.
func (s *settingsFile) check(text []byte, changed []string) error {
	f, err := os.CreateTemp("", "edgecore-*.yaml") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
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

// ownSettings gives the settings of edgekit for keys of a job.
func ownSettings(set map[string]string) (map[string]string, error) { return set, nil }
