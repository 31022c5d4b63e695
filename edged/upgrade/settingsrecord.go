package upgrade

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// Files of a trial of settings, in the slots' folder.
const (
	settingsFile = "settings"     // the record
	settingsOld  = "settings.old" // what the file of settings had before
	settingsNew  = "settings.new" // what is tried
)

// maxSettings is the largest file of settings, in bytes.
const maxSettings = 1 << 20

// settingsRecord is what a trial of settings has to remember over a restart.
type settingsRecord struct {
	Phase  Phase  `json:"phase"` // Idle, Trial, Committed or RolledBack
	ID     string `json:"id,omitempty"`
	File   string `json:"file,omitempty"`   // absolute path of the file of settings
	Absent bool   `json:"absent,omitempty"` // there was no file before
	Mode   uint32 `json:"mode,omitempty"`   // permissions of the file before
	trial
	Outcome *Outcome `json:"outcome,omitempty"`
}

var errSettings = errors.New("upgrade: the record of settings is damaged")

const settingsHead = "edgekit settings record"

func (r settingsRecord) encode() ([]byte, error) { return seal(settingsHead, r) }

// decodeSettings reads what encode wrote, and refuses all else.
func decodeSettings(text []byte) (settingsRecord, error) {
	var r settingsRecord
	if err := unseal(settingsHead, text, &r); err != nil {
		return settingsRecord{Phase: Idle}, fmt.Errorf("%w: %w", errSettings, err)
	}
	if r.Phase == Trial && !filepath.IsAbs(r.File) || len(r.ID) > maxID || len(r.Pods) > maxPods {
		return settingsRecord{Phase: Idle}, errSettings
	}
	return r, nil
}

// loadSettings reads the record in dir. Without one, or with one that is damaged, it returns
// that of a node whose settings were never changed: the file stays as it is.
func loadSettings(dir string) (settingsRecord, error) {
	text, err := readBounded(filepath.Join(dir, settingsFile), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return settingsRecord{Phase: Idle}, nil
	}
	if err != nil {
		return settingsRecord{Phase: Idle}, err
	}
	return decodeSettings(text)
}

// saveSettings replaces the record in dir, durably.
func saveSettings(d disk, dir string, r settingsRecord) error {
	text, err := r.encode()
	if err != nil {
		return err
	}
	return replaceFile(d, filepath.Join(dir, settingsFile), text, 0o600)
}

// put brings the new settings into force. Repeating it changes nothing.
func (r settingsRecord) put(d disk, dir string) error {
	return r.copy(d, filepath.Join(dir, settingsNew))
}

// restore brings the settings before back. Repeating it changes nothing.
func (r settingsRecord) restore(d disk, dir string) error {
	if !r.Absent {
		return r.copy(d, filepath.Join(dir, settingsOld))
	}
	if err := d.remove(r.File); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(r.File))
}

func (r settingsRecord) copy(d disk, from string) error {
	content, err := readBounded(from, maxSettings)
	if err != nil {
		return err
	}
	mode := fs.FileMode(r.Mode).Perm() // as it was: others may read it
	if r.Mode == 0 {
		mode = 0o600
	}
	return replaceFile(d, r.File, content, mode)
}

// rolledBack ends the trial without success.
func (r settingsRecord) rolledBack(reason string, now time.Time) settingsRecord {
	return settingsRecord{Phase: RolledBack, File: r.File, Outcome: &Outcome{ID: r.ID, Phase: RolledBack, Reason: short(reason), Time: now.UTC()}}
}

// committed ends the trial with success.
func (r settingsRecord) committed(now time.Time) settingsRecord {
	return settingsRecord{Phase: Committed, File: r.File, Outcome: &Outcome{ID: r.ID, Phase: Committed, Time: now.UTC()}}
}
