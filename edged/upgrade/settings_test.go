package upgrade

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// settingsDisk is a disk whose power is cut before or after one of its changes.
type settingsDisk struct {
	osDisk
	cut, changes int
}

var errSettingsCut = errors.New("the power is cut")

func (d *settingsDisk) point(change func() error) error {
	d.changes++
	if d.cut > 0 && d.changes >= d.cut {
		return errSettingsCut
	}
	err := change()
	d.changes++
	if d.cut > 0 && d.changes >= d.cut {
		return errSettingsCut
	}
	return err
}

func (d *settingsDisk) write(name string, content []byte) error {
	return d.point(func() error { return d.osDisk.write(name, content) })
}
func (d *settingsDisk) rename(from, to string) error {
	return d.point(func() error { return d.osDisk.rename(from, to) })
}
func (d *settingsDisk) remove(name string) error {
	return d.point(func() error { return d.osDisk.remove(name) })
}

// TestSettingsCut cuts the power before and after each change of the disk, from the switch to the
// commit: the file always is as before or as it is to be, and the outcome says which.
func TestSettingsCut(t *testing.T) {
	const before, after = "mode: a\n", "mode: b\n"
	points := 0
	for cut := 1; ; cut++ {
		reached := false
		synctest.Test(t, func(t *testing.T) {
			data := t.TempDir()
			dir, file := filepath.Join(data, SlotsDir), filepath.Join(data, "edgecore.yaml")
			if err := os.WriteFile(file, []byte(before), 0o644); err != nil {
				t.Fatal(err)
			}
			d := &settingsDisk{cut: cut}
			life := func(d disk, start SettingsStart) *Settings {
				s, err := NewSettings(SettingsConfig{DataDir: data, Start: start})
				if err != nil {
					t.Fatal(err)
				}
				s.disk = d
				return s
			}
			healthy := func(d disk, start SettingsStart) *Settings {
				s := life(d, start)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.Run(ctx) }()
				time.Sleep(2 * time.Minute)
				cancel()
				<-done
				return s
			}
			// The first life switches, the second tries and commits; the cut is in one of them.
			err := life(d, SettingsStart{}).Switch(t.Context(), "job", file, []byte(after), Health{})
			if err == nil {
				if start := bootSettings(d, dir, time.Now); d.changes < cut {
					healthy(d, start)
				}
			}
			reached = d.changes >= cut
			// The power is back.
			for range 3 {
				healthy(osDisk{}, BootSettings(data))
			}
			state := life(osDisk{}, SettingsStart{}).State()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := after
			if state.Outcome == nil || state.Outcome.Phase == RolledBack {
				want = before
			}
			if string(text) != want || state.Phase == Trial || state.Outcome != nil && state.Outcome.ID != "job" {
				t.Errorf("cut at change %d: %q, %+v", cut, text, state)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("cut at change %d: mode %v, %v", cut, info.Mode(), err)
			}
		})
		if !reached {
			break
		}
		points++
	}
	if points < 12 {
		t.Errorf("only %d points", points)
	}
	t.Logf("RESULT settings_cut_points %d", points)
}

// TestSettingsUnhealthy: settings with which the node is not as well as before go.
func TestSettingsUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := t.TempDir()
		file := filepath.Join(data, "edgecore.yaml") // there is none before
		pods := map[string]bool{"plant/web": true}
		cfg := SettingsConfig{DataDir: data, Linked: func() bool { return true }, Pods: func() map[string]bool { return pods }}
		s, err := NewSettings(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []error{
			s.Switch(t.Context(), "job", "edgecore.yaml", nil, Health{}),
			s.Switch(t.Context(), "job", file, make([]byte, maxSettings+1), Health{}),
			s.Switch(t.Context(), "job", file, nil, Health{Timeout: time.Second, Stable: time.Minute}),
		} {
			if bad == nil {
				t.Error("a bad switch is taken")
			}
		}
		if err := s.Switch(t.Context(), "job", file, []byte("mode: b\n"), Health{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Switch(t.Context(), "job", file, []byte("mode: b\n"), Health{}); err != nil {
			t.Errorf("again: %v", err)
		}
		if err := s.Switch(t.Context(), "other", file, nil, Health{}); !errors.Is(err, ErrBusy) {
			t.Errorf("another: %v", err)
		}
		cfg.Start = BootSettings(data)
		pods = map[string]bool{"plant/web": false}
		if s, err = NewSettings(cfg); err != nil {
			t.Fatal(err)
		}
		if err := s.Stopped(t.Context()); err != nil { // an orderly end goes on at the next start
			t.Fatal(err)
		}
		cfg.Start = BootSettings(data)
		if s, err = NewSettings(cfg); err != nil || !cfg.Start.Trial {
			t.Fatalf("%+v, %v", cfg.Start, err)
		}
		if err := s.Run(t.Context()); !errors.Is(err, ErrRestart) {
			t.Fatal(err)
		}
		o := s.State().Outcome
		if o == nil || o.Phase != RolledBack || o.ID != "job" || !strings.Contains(o.Reason, "plant/web") {
			t.Errorf("%+v", o)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file stays: %v", err)
		}
	})
}

// TestSettingsNotRestored: settings that failed are not tried again when those before could not be
// brought back, though the program ends in order.
func TestSettingsNotRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := t.TempDir()
		file := filepath.Join(data, "edgecore.yaml")
		cfg := SettingsConfig{DataDir: data}
		s, err := NewSettings(cfg)
		if err := errors.Join(err, s.Switch(t.Context(), "job", file, []byte("mode: b\n"), Health{})); err != nil {
			t.Fatal(err)
		}
		cfg.Start, cfg.Check = BootSettings(data), func() error { return errors.New("not well") }
		if s, err = NewSettings(cfg); err != nil || !cfg.Start.Trial {
			t.Fatalf("%+v, %v", cfg.Start, err)
		}
		s.disk = &settingsDisk{cut: 1} // the file system of the settings takes no writes
		if err := s.Run(t.Context()); !errors.Is(err, ErrRestart) {
			t.Fatal(err)
		}
		s.disk = osDisk{}
		if err := s.Stopped(t.Context()); err != nil {
			t.Fatal(err)
		}
		if start := BootSettings(data); start.Trial || start.Problem == "" {
			t.Errorf("%+v", start)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file stays: %v", err)
		}
	})
}

// FuzzSettingsRecord: what is no record is refused, and no record leads outside.
func FuzzSettingsRecord(f *testing.F) {
	text, err := settingsRecord{Phase: Trial, ID: "job", File: "/etc/edgekit/edgecore.yaml", trial: trial{Tries: 1}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("edgekit settings record 1 00000000\n{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decodeSettings(text)
		if err == nil && r.Phase == Trial && !filepath.IsAbs(r.File) || err != nil && r.Phase != Idle {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	})
}
