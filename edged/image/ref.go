package image

import (
	"fmt"

	"github.com/distribution/reference"
)

// Ref is an image reference in its parts.
type Ref struct {
	Registry string // host, with a port where one was written: "docker.io"
	Path     string // "library/nginx"
	Tag      string // empty when there is a digest and no tag
	Digest   string // "sha256:..." or empty
}

// String gives the whole reference.
func (r Ref) String() string {
	s := r.Registry + "/" + r.Path
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Error says why a text is no image reference.
type Error struct{ Text, Reason string }

func (e *Error) Error() string {
	return fmt.Sprintf("image: couldn't parse image name %q: %s", e.Text, e.Reason)
}

// Parse reads a reference as the kubelet does, by the grammar that container tools share
// (github.com/distribution/reference). Its error is an *Error.
func Parse(text string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return Ref{}, &Error{text, err.Error()}
	}
	ref := Ref{Registry: reference.Domain(named), Path: reference.Path(named)}
	if tagged, ok := named.(reference.Tagged); ok {
		ref.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		ref.Digest = digested.Digest().String()
	}
	if ref.Tag == "" && ref.Digest == "" {
		ref.Tag = "latest"
	}
	return ref, nil
}
