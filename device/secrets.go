package device

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Secrets gives the secrets that the protocol configuration of devices refers to. It is asked
// before each Open. All methods may be called by several goroutines at once.
type Secrets interface {
	// Secret returns what a Secret of the namespace has under a key.
	Secret(ctx context.Context, namespace, name, key string) ([]byte, error)
}

// SecretFiles is Secrets in a folder, as a pod has them mounted: NAMESPACE/NAME/KEY, or
// NAME/KEY.
type SecretFiles string

// Secret reads the file.
func (dir SecretFiles) Secret(_ context.Context, namespace, name, key string) ([]byte, error) {
	for _, part := range []string{namespace, name, key} {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\\\x00") {
			return nil, fmt.Errorf("secret %q, key %q in namespace %q: these cannot be names", name, key, namespace)
		}
	}
	value, err := os.ReadFile(filepath.Join(string(dir), namespace, name, key))
	if errors.Is(err, os.ErrNotExist) {
		value, err = os.ReadFile(filepath.Join(string(dir), name, key))
	}
	if err != nil {
		return nil, fmt.Errorf("secret %q, key %q in namespace %q: %w", name, key, namespace, err)
	}
	return bytes.TrimRight(value, "\n"), nil
}

// secretRef is what stands in a configuration in place of a secret text.
type secretRef struct {
	Ref *struct {
		Name string `json:"name"`
		Key  string `json:"key"`
	} `json:"secretRef"`
}

// maxSecretDepth is how deep an object with a secretRef may be in a configuration.
const maxSecretDepth = 8

// resolve returns the device with the secrets that its protocol configuration refers to, and
// these secrets. Each object {"secretRef": {"name": N, "key": K}} becomes the text that the
// Secret N of the device's namespace has under K. dev is not changed.
func resolve(ctx context.Context, secrets Secrets, dev Instance) (Instance, []string, error) {
	if !bytes.Contains(dev.Spec.Protocol.Config, []byte(`"secretRef"`)) {
		return dev, nil, nil
	}
	if secrets == nil {
		return dev, nil, errors.New("spec.protocol.configData has a secretRef, and the mapper has no device.Config.Secrets")
	}
	namespace, _, _ := strings.Cut(dev.ID, "/")
	r := resolver{ctx: ctx, secrets: secrets, namespace: namespace}
	config, err := r.resolve(json.RawMessage(dev.Spec.Protocol.Config), 0)
	if err != nil {
		return dev, nil, fmt.Errorf("spec.protocol.configData: %w", err)
	}
	dev.Spec.Protocol.Config = schema.Options(config)
	return dev, r.found, nil
}

// resolver resolves one configuration.
type resolver struct {
	ctx       context.Context // of the one call of resolve that makes it
	secrets   Secrets
	namespace string
	found     []string
}

func (r *resolver) resolve(raw json.RawMessage, depth int) (json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' || !bytes.Contains(raw, []byte(`"secretRef"`)) {
		return raw, nil
	}
	if depth > maxSecretDepth {
		return nil, fmt.Errorf("a secretRef is more than %d objects deep", maxSecretDepth)
	}
	fields := make(map[string]json.RawMessage)
	if err := jsonlimit.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	if _, ok := fields["secretRef"]; ok {
		return r.secret(raw, len(fields))
	}
	for name, value := range fields {
		next, err := r.resolve(value, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		fields[name] = next
	}
	return json.Marshal(fields)
}

func (r *resolver) secret(raw json.RawMessage, fields int) (json.RawMessage, error) {
	var ref secretRef
	if err := jsonlimit.Unmarshal(raw, &ref); err != nil || ref.Ref == nil || ref.Ref.Name == "" || ref.Ref.Key == "" || fields != 1 {
		return nil, errors.New(`a secretRef is {"secretRef": {"name": NAME, "key": KEY}} in place of the text`)
	}
	value, err := r.secrets.Secret(r.ctx, r.namespace, ref.Ref.Name, ref.Ref.Key)
	if err != nil {
		return nil, err
	}
	r.found = append(r.found, string(value))
	return json.Marshal(string(value))
}

// redacted is an error without the secrets in its text.
type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }

// redact takes the secrets out of the text of an error: it is logged and shown.
func redact(err error, secrets []string) error {
	if err == nil || len(secrets) == 0 {
		return err
	}
	text := err.Error()
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[secret]")
		}
	}
	return &redacted{text, err}
}
