package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Synced asks the cloud for what EdgeSyncs (sites.edgekit.io) have the node hold: the objects of
// EdgeSyncsResource, and those of the resources that they name.
const Synced = "edgesyncs"

// EdgeSyncsResource is the resource in the Down area that says which further resources the node
// holds: for each EdgeSync that chose the node one object, an EdgeSync.
const EdgeSyncsResource = "edgesyncs"

// SyncedPrefix begins each resource of the Down area that SyncedResource returns, and no other.
const SyncedPrefix = "synced."

// SyncedResource is the resource of the Down area whose objects are those that the node holds by
// EdgeSyncs, as the API server has them. It differs from the resources that nodes hold in any case.
func SyncedResource(group, version, resource string) string {
	return SyncedPrefix + resource + "." + version + "." + group
}

// EdgeSync is what a node knows of an EdgeSync.
type EdgeSync struct {
	Group      string   `json:"group"`
	Version    string   `json:"version"`
	Resource   string   `json:"resource"` // plural, lower case
	Kind       string   `json:"kind"`
	Singular   string   `json:"singular,omitempty"`
	ShortNames []string `json:"shortNames,omitempty"`
	Namespaced bool     `json:"namespaced,omitempty"`
	// Namespaces are those of the objects; none means all.
	Namespaces []string `json:"namespaces,omitempty"`
	// Some is that the node does not hold all objects of the Namespaces.
	Some bool `json:"some,omitempty"`
}

// maxNames bounds the lists of an EdgeSync: as many as its resource definition allows.
const maxNames = 64

// Encode returns the EdgeSync as it is sent.
func (s EdgeSync) Encode() ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	return b, nil
}

// DecodeEdgeSync reads what EdgeSync.Encode made.
func DecodeEdgeSync(text []byte) (EdgeSync, error) {
	var s EdgeSync
	if err := jsonlimit.Unmarshal(text, &s); err != nil {
		return EdgeSync{}, fmt.Errorf("wire: %w", err)
	}
	for _, name := range []string{s.Version, s.Resource, s.Kind} {
		if name == "" {
			return EdgeSync{}, errors.New("wire: an EdgeSync needs a version, a resource and a kind")
		}
	}
	if strings.ContainsAny(s.Version+s.Resource, "./") || strings.Contains(s.Group, "/") {
		return EdgeSync{}, fmt.Errorf("wire: %q, %q, %q is not the name of a resource", s.Group, s.Version, s.Resource)
	}
	if len(s.Namespaces) > maxNames || len(s.ShortNames) > maxNames {
		return EdgeSync{}, fmt.Errorf("wire: an EdgeSync has more than %d names", maxNames)
	}
	return s, nil
}
