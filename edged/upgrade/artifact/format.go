package artifact

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Media types of an artefact.
const (
	ArtifactType = "application/vnd.edgekit.node.v1"
	ConfigType   = "application/vnd.edgekit.node.config.v1+json"
	LayerType    = "application/vnd.edgekit.node.layer.v1.tar+gzip"
)

// LocalScope is the scope in trustpolicy.json of artefacts that come from a file or a URL.
const LocalScope = "local/edgekit"

// Limits of what is read before the signature is verified, in bytes.
const (
	maxIndex     = 64 << 10
	maxManifest  = 32 << 10
	maxConfig    = 16 << 10
	maxSignature = 64 << 10
	maxEntries   = 64 // manifests of an index, signatures of an artefact, files of a layout
)

// Info is the configuration of an artefact for one platform.
type Info struct {
	Version          string `json:"version"`                    // of edgekit: v1.2.3
	OS               string `json:"os"`                         // as GOOS
	Architecture     string `json:"architecture"`               // as GOARCH
	Variant          string `json:"variant,omitempty"`          // v7 for arm
	StoreFormat      int    `json:"storeFormat"`                // to which the program brings the node's store
	StoreFormatsRead []int  `json:"storeFormatsRead,omitempty"` // that it can read
	Protocol         int    `json:"protocol,omitempty"`         // of the link
}

// RefusedError says why an artefact is refused. It is final.
type RefusedError struct {
	What   string // the part that is refused: "index", "manifest", "signature", ...
	Reason string // and the remedy, where there is one
}

func (e *RefusedError) Error() string {
	return "upgrade: the artefact is refused: " + e.What + ": " + e.Reason
}

func refuse(what, format string, args ...any) error {
	return &RefusedError{what, fmt.Sprintf(format, args...)}
}

// parseInfo reads the configuration of an artefact.
func parseInfo(text []byte) (Info, error) {
	var i Info
	if err := jsonlimit.Unmarshal(text, &i); err != nil {
		return i, refuse("config", "%v", err)
	}
	switch {
	case i.Version == "" || len(i.Version) > 128 || strings.ContainsFunc(i.Version, func(r rune) bool { return r <= ' ' || r > '~' }):
		return i, refuse("config", "version %.40q: want one such as v1.2.3", i.Version)
	case i.StoreFormat < 1 || len(i.StoreFormatsRead) > 32:
		return i, refuse("config", "storeFormat %d, storeFormatsRead %.200v: want a format, and at most 32 that are read", i.StoreFormat, i.StoreFormatsRead)
	}
	return i, nil
}

// parseManifest reads the manifest of an artefact for one platform.
func parseManifest(text []byte) (config, layer ocispec.Descriptor, err error) {
	var m ocispec.Manifest
	if err := jsonlimit.Unmarshal(text, &m); err != nil {
		return config, layer, refuse("manifest", "%v", err)
	}
	switch {
	case m.SchemaVersion != 2 || m.MediaType != "" && m.MediaType != ocispec.MediaTypeImageManifest:
		return config, layer, refuse("manifest", "mediaType %.80q, schemaVersion %d: want an OCI image manifest", m.MediaType, m.SchemaVersion)
	case m.ArtifactType != ArtifactType:
		return config, layer, refuse("manifest", "artifactType is %.80q and should be %s", m.ArtifactType, ArtifactType)
	case m.Config.MediaType != ConfigType:
		return config, layer, refuse("manifest", "config.mediaType is %.80q and should be %s", m.Config.MediaType, ConfigType)
	case len(m.Layers) != 1 || m.Layers[0].MediaType != LayerType:
		return config, layer, refuse("manifest", "layers: want one of %s, have %d", LayerType, len(m.Layers))
	}
	return m.Config, m.Layers[0], errors.Join(checkDescriptor("config", m.Config, maxConfig), checkDescriptor("layer", m.Layers[0], 1<<40))
}

// parseIndex reads the manifests of an index.
func parseIndex(text []byte) ([]ocispec.Descriptor, error) {
	var i ocispec.Index
	if err := jsonlimit.Unmarshal(text, &i); err != nil {
		return nil, refuse("index", "%v", err)
	}
	if i.SchemaVersion != 2 || len(i.Manifests) > maxEntries {
		return nil, refuse("index", "schemaVersion %d with %d manifests: want 2 with at most %d", i.SchemaVersion, len(i.Manifests), maxEntries)
	}
	for _, d := range i.Manifests {
		if err := checkDescriptor("index", d, 1<<40); err != nil {
			return nil, err
		}
	}
	return i.Manifests, nil
}

// checkDescriptor refuses a descriptor without a sha256 digest or with a size that is not allowed.
func checkDescriptor(what string, d ocispec.Descriptor, limit int64) error {
	if !isDigest(string(d.Digest)) {
		return refuse(what, "digest %.80q: want sha256: and 64 hexadecimal digits", string(d.Digest))
	}
	if d.Size < 0 || d.Size > limit {
		return refuse(what, "size %d: want at most %d bytes", d.Size, limit)
	}
	return nil
}

// isDigest reports whether text is a sha256 digest.
func isDigest(text string) bool {
	hex, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// Platform is what a program is built for.
type Platform struct {
	OS, Architecture string // as GOOS and GOARCH
	Variant          string // v5, v6 or v7 for arm, the least that the node has; else ""
}

func (p Platform) String() string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// Host is the platform of this program.
func Host() Platform {
	p := Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	if p.Architecture != "arm" {
		return p
	}
	p.Variant = "v7"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "GOARM" && s.Value != "" {
				p.Variant = "v" + s.Value[:1]
			}
		}
	}
	return p
}

// runs reports whether the platform runs programs for os, architecture and variant.
func (p Platform) runs(os, architecture, variant string) bool {
	if os != p.OS || architecture != p.Architecture {
		return false
	}
	switch p.Architecture {
	case "arm":
		return variant == p.Variant
	case "arm64":
		return variant == "" || variant == "v8"
	case "amd64":
		return variant == "" || variant == "v1"
	}
	return variant == ""
}

// choose returns the manifest for the platform.
func (p Platform) choose(manifests []ocispec.Descriptor) (ocispec.Descriptor, error) {
	var there []string
	for _, d := range manifests {
		if d.Platform == nil || d.MediaType != ocispec.MediaTypeImageManifest {
			continue
		}
		if p.runs(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant) {
			return d, checkDescriptor("index", d, maxManifest)
		}
		there = append(there, Platform{d.Platform.OS, d.Platform.Architecture, d.Platform.Variant}.String())
	}
	return ocispec.Descriptor{}, refuse("index", "it has no manifest for %s, only for %.200q", p, there)
}

// release makes of the configuration what a slot remembers, for a node and a request.
func (i Info) release(p Platform, req upgrade.Request) (upgrade.Release, error) {
	switch {
	case !p.runs(i.OS, i.Architecture, i.Variant):
		return upgrade.Release{}, refuse("config", "it is for %s and this node is %s", Platform{i.OS, i.Architecture, i.Variant}, p)
	case req.Version != "" && i.Version != req.Version:
		return upgrade.Release{}, refuse("config", "its version is %s and %.128q was asked for", i.Version, req.Version)
	}
	return upgrade.Release{Version: i.Version, StoreFormat: i.StoreFormat, StoreFormatsRead: i.StoreFormatsRead, Protocol: i.Protocol}, nil
}
