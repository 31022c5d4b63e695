package image

import (
	"fmt"
	"regexp"
	"strings"
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

// The grammar of references is that of the OCI distribution specification and
// of the "domain/path:tag@digest" form in common use.
var (
	component = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	tagForm   = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
	digest    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$`)
	host      = regexp.MustCompile(`^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$`)
)

// Parse reads a reference. Its error is an *Error.
func Parse(text string) (Ref, error) {
	fail := func(reason string) (Ref, error) { return Ref{}, &Error{text, reason} }
	name := text
	var ref Ref
	if i := strings.IndexByte(name, '@'); i >= 0 {
		name, ref.Digest = name[:i], name[i+1:]
		if !digest.MatchString(ref.Digest) {
			return fail("invalid digest")
		}
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.Contains(name[i:], "/") {
		name, ref.Tag = name[:i], name[i+1:]
		if !tagForm.MatchString(ref.Tag) {
			return fail("invalid tag")
		}
	}
	ref.Registry, ref.Path = "docker.io", name
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first) {
		if !host.MatchString(first) {
			return fail("invalid registry host")
		}
		ref.Registry, ref.Path = first, rest
	}
	if ref.Registry == "index.docker.io" {
		ref.Registry = "docker.io"
	}
	if ref.Registry == "docker.io" && !strings.Contains(ref.Path, "/") {
		ref.Path = "library/" + ref.Path
	}
	if len(ref.Registry)+1+len(ref.Path) > 255 {
		return fail("name is longer than 255 characters")
	}
	for part := range strings.SplitSeq(ref.Path, "/") {
		if !component.MatchString(part) {
			return fail("invalid reference format")
		}
	}
	if ref.Tag == "" && ref.Digest == "" {
		ref.Tag = "latest"
	}
	return ref, nil
}
