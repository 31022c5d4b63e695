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

// Credential is a key to a registry.
type Credential struct {
	Server                       string // as the secret names it
	Username, Password           string
	IdentityToken, RegistryToken string
}

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
	type match struct {
		Credential
		length int
	}
	var found []match
	var errs []error
	for _, s := range secrets {
		entries, err := parse(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("image: secret %s/%s: %w", s.Namespace, s.Name, err))
			continue
		}
		for server, e := range entries {
			length, ok := covers(server, ref)
			if !ok {
				continue
			}
			if user, pass, ok := e.userinfo(); ok && e.Username == "" {
				e.Username, e.Password = user, pass
			}
			found = append(found, match{Credential{server, e.Username, e.Password, e.IdentityToken, e.RegistryToken}, length})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.length, a.length), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Username, b.Username))
	})
	var out []Credential
	for _, m := range found {
		if !slices.Contains(out, m.Credential) {
			out = append(out, m.Credential)
		}
	}
	return out, errors.Join(errs...)
}

func parse(s *corev1.Secret) (map[string]entry, error) {
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]entry `json:"auths"`
		}
		if err := jsonlimit.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &file); err != nil {
			return nil, fmt.Errorf("%s is not a docker configuration: %w", corev1.DockerConfigJsonKey, err)
		}
		return file.Auths, nil
	case corev1.SecretTypeDockercfg:
		var auths map[string]entry
		if err := jsonlimit.Unmarshal(s.Data[corev1.DockerConfigKey], &auths); err != nil {
			return nil, fmt.Errorf("%s is not a docker configuration: %w", corev1.DockerConfigKey, err)
		}
		return auths, nil
	}
	return nil, nil
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
