package resize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/durable"
)

// Record is what must be known of a resized pod after a restart of the agent. A
// runtime keeps the notes of a container as they were when it was made, so that this
// one is a file in the pod's folder, which goes with the pod. A pod that was never
// resized has none.
type Record struct {
	Allocated Allocation `json:"allocated"`
	// Actuated has what was set of running containers, by their ids; one that is not
	// there has what it was made with.
	Actuated    map[string]corev1.ResourceRequirements `json:"actuated,omitempty"`
	ActuatedPod *corev1.ResourceRequirements           `json:"actuatedPod,omitempty"`
}

// maxRecord is the size in bytes of the largest record that is read. That of a pod
// with a hundred containers has a tenth of it.
const maxRecord = 1 << 18

// recordFile is the name of a record in the folder of its pod.
const recordFile = "resources.json"

// Clone is a copy that shares nothing.
func (r Record) Clone() Record {
	out := Record{Allocated: r.Allocated.clone(), Actuated: maps.Clone(r.Actuated), ActuatedPod: r.ActuatedPod.DeepCopy()}
	for id, a := range out.Actuated {
		out.Actuated[id] = *a.DeepCopy()
	}
	return out
}

// Load reads the record in a pod's folder; nil if there is none.
func Load(dir string) (*Record, error) {
	f, err := os.Open(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	r, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("edged: %s: %w", f.Name(), err)
	}
	return r, nil
}

// Parse reads a record.
func Parse(text []byte) (*Record, error) {
	if len(text) > maxRecord {
		return nil, fmt.Errorf("longer than %d bytes", maxRecord)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Store writes the record into a pod's folder. A crash leaves the old one or the new
// one; the new one is durable when Store returns.
func (r Record) Store(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, recordFile), text); err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	return nil
}
