package image

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Credential is a key to a registry. It can be compared.
type Credential struct {
	Server                       string // as the secret names it
	Username, Password           string
	IdentityToken, RegistryToken string
	Source                       Source // whose it is
}

// Source is the object of Kubernetes that a credential comes from. The zero value
// means that it is not known.
type Source struct {
	Kind                 string // KindSecret, KindServiceAccount, or KindNode, for which the other fields are empty
	UID, Namespace, Name string
}

// The kinds of a Source.
const (
	KindNode           = "Node"           // every pod of the node may use the credential
	KindSecret         = "Secret"         // a pull secret
	KindServiceAccount = "ServiceAccount" // a credential provider got it with a token of the account
)

// entry is one server in a docker configuration file.
type entry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Credentials lists what the secrets hold for an image, the most specific
// first. Secrets of other types hold nothing. Damaged secrets are left out and
// named in the error, which comes with what the others hold.
func Credentials(secrets []*corev1.Secret, ref Ref) ([]Credential, error) {
	var found []match
	var errs []error
	for _, s := range secrets {
		entries, err := parse(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("image: secret %s/%s: %w", s.Namespace, s.Name, err))
			continue
		}
		found = appendMatches(found, entries, ref, Source{KindSecret, string(s.UID), s.Namespace, s.Name})
	}
	return sorted(found), errors.Join(errs...)
}

// match is a credential that covers an image, and how much of its name it names.
type match struct {
	Credential
	length int
}

func appendMatches(found []match, entries map[string]entry, ref Ref, source Source) []match {
	for server, e := range entries {
		length, ok := covers(server, ref)
		if !ok {
			continue
		}
		if user, pass, ok := e.userinfo(); ok && e.Username == "" {
			e.Username, e.Password = user, pass
		}
		found = append(found, match{Credential{server, e.Username, e.Password, e.IdentityToken, e.RegistryToken, source}, length})
	}
	return found
}

// Select lists the credentials that cover an image, by the servers that all names, the
// most specific first. A server may have globs; see Covers.
func Select(all map[string]Credential, ref Ref) []Credential {
	var found []match
	for server, c := range all {
		if length, ok := covers(server, ref); ok {
			c.Server = server
			found = append(found, match{c, length})
		}
	}
	return sorted(found)
}

// Covers reports whether an image is at a server, as docker configurations and
// credential providers name them: a host, a host with a path, or a URL. Each label of
// the host may be a glob; a path covers what is below it.
func Covers(server string, ref Ref) bool {
	_, ok := covers(server, ref)
	return ok
}

// sorted gives the credentials once each, the most specific first.
func sorted(found []match) []Credential {
	slices.SortStableFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.length, a.length), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Username, b.Username))
	})
	var out []Credential
	for _, m := range found {
		if !slices.Contains(out, m.Credential) {
			out = append(out, m.Credential)
		}
	}
	return out
}

func parse(s *corev1.Secret) (map[string]entry, error) {
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		auths, err := parseConfigJSON(s.Data[corev1.DockerConfigJsonKey])
		if err != nil {
			return nil, fmt.Errorf("%s is not a docker configuration: %w", corev1.DockerConfigJsonKey, err)
		}
		return auths, nil
	case corev1.SecretTypeDockercfg:
		auths, err := parseDockercfg(s.Data[corev1.DockerConfigKey])
		if err != nil {
			return nil, fmt.Errorf("%s is not a docker configuration: %w", corev1.DockerConfigKey, err)
		}
		return auths, nil
	}
	return nil, nil
}

// parseConfigJSON reads a docker config.json.
func parseConfigJSON(text []byte) (map[string]entry, error) {
	var file struct {
		Auths map[string]entry `json:"auths"`
	}
	err := jsonlimit.Unmarshal(text, &file)
	return file.Auths, err
}

// parseDockercfg reads a file of the older form, .dockercfg.
func parseDockercfg(text []byte) (map[string]entry, error) {
	var auths map[string]entry
	err := jsonlimit.Unmarshal(text, &auths)
	return auths, err
}

// userinfo decodes the auth field, base64 of user:password.
func (e entry) userinfo() (user, pass string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimRight(e.Auth, "="))
	if err != nil {
		raw, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(e.Auth, "="))
	}
	if err != nil {
		return "", "", false
	}
	return strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
}

// covers reports whether a server of a docker configuration is where ref is,
// and how much of it it names. A server may be a host, a host with a path, or a
// URL, and each label of the host may be a glob.
func covers(server string, ref Ref) (int, bool) {
	name := server
	for _, scheme := range []string{"https://", "http://"} {
		name = strings.TrimPrefix(name, scheme)
	}
	name = strings.TrimSuffix(name, "/")
	for _, api := range []string{"/v1", "/v2"} {
		name = strings.TrimSuffix(name, api)
	}
	domain, prefix, _ := strings.Cut(name, "/")
	if domain == "index.docker.io" || domain == "registry-1.docker.io" {
		domain = "docker.io"
	}
	if prefix != "" && ref.Path != prefix && !strings.HasPrefix(ref.Path, prefix+"/") {
		return 0, false
	}
	want, have := strings.Split(ref.Registry, "."), strings.Split(domain, ".")
	if len(want) != len(have) {
		return 0, false
	}
	for i := range want {
		if ok, err := path.Match(have[i], want[i]); err != nil || !ok {
			return 0, false
		}
	}
	return len(name), true
}
