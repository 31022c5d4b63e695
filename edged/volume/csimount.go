package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// csiTimeout bounds one call of a driver, as a kubelet's csiTimeout does.
	csiTimeout = 2 * time.Minute
	// republish is how often a driver with requiresRepublish publishes anew.
	republish = time.Minute
)

// staging is what is kept of a volume that a driver has staged, or was about to.
type staging struct {
	Driver string `json:"driver"`
	Handle string `json:"handle"`
	Boot   string `json:"boot"` // of the machine: what was mounted ends with it
	Done   bool   `json:"done,omitempty"`
}

// stagingDir is the folder of a staged volume: the mount in it, and a file beside.
func (m *Manager) stagingDir(driver, handle string) string {
	sum := sha256.Sum256([]byte(handle))
	return filepath.Join(m.cfg.Root, "plugins", "kubernetes.io", "csi", driver, hex.EncodeToString(sum[:]))
}

func stagingMount(dir string) string { return filepath.Join(dir, "globalmount") }
func stagingFile(dir string) string  { return filepath.Join(dir, "staged.json") }

func readStaging(dir string) (staging, error) {
	var s staging
	data, err := os.ReadFile(stagingFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if json.Unmarshal(data, &s) != nil {
		return staging{}, nil // a write that was cut off
	}
	return s, nil
}

// driverNode gives the driver of that name. The error has a kubelet's words.
func (m *Manager) driverNode(name string) (CSINode, error) {
	if name == "" || filepath.Base(name) != name || !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%q is no name of a CSI driver", name)
	}
	if m.cfg.CSI != nil {
		if node, ok := m.cfg.CSI.Driver(name); ok {
			return node, nil
		}
	}
	return nil, fmt.Errorf("driver name %s not found in the list of registered CSI drivers", name)
}

// driverInfo reads what a driver says of itself.
func (m *Manager) driverInfo(ctx context.Context, name string) (*storagev1.CSIDriverSpec, error) {
	if m.cfg.CSIDrivers == nil {
		return driverDefaults(nil), nil
	}
	d, err := m.cfg.CSIDrivers.CSIDriver(ctx, name)
	if missing(err) {
		return driverDefaults(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read CSIDriver %s: %w", name, err)
	}
	return driverDefaults(d), nil
}

// csi has a driver show a volume at the path of the record.
func (s *setup) csi(ctx context.Context, st storage, r *record) error {
	m, v := s.m, st.csi
	info, err := m.driverInfo(ctx, v.driver)
	if err != nil {
		return err
	}
	if err := checkCSIDriver(info, v); err != nil {
		return err
	}
	node, err := m.driverNode(v.driver)
	if err != nil {
		return err
	}
	can, err := capabilities(ctx, node)
	if err != nil {
		return err
	}
	var attachment map[string]string
	if *info.AttachRequired && !v.ephemeral {
		if attachment, err = s.attachment(ctx, v, r); err != nil {
			return err
		}
	}
	defer m.locks.lock(v.driver + "/" + v.handle)()
	dir := m.stagingDir(v.driver, v.handle)
	have, err := readStaging(dir)
	if err != nil {
		return err
	}
	state := csiState{staged: have.Done && have.Boot == r.Boot || v.ephemeral, published: r.Done}
	req := CSIRequest{VolumeID: v.handle, AccessMode: string(v.accessMode), FSType: v.fsType, Options: st.options, Block: st.block, Context: v.attributes, PublishContext: attachment}
	if g := s.group(); g != nil && can.Group {
		req.Group = strconv.FormatInt(*g, 10)
	}
	for {
		switch nextCSI(true, can.Stage, state) {
		case csiStage:
			err = s.stage(ctx, node, dir, v, req)
			state.staged = true
		case csiPublish:
			if can.Stage && !v.ephemeral {
				req.Staging = stagingMount(dir)
			}
			req.ReadOnly = st.readOnly
			err = s.publish(ctx, node, info, v, req, r.Path)
			state.published = true
		default:
			if s.group() != nil && !can.Group && !st.block && s.checkHost && !r.Done && agentSetsGroup(*info.FSGroupPolicy, v, st.readOnly) {
				if err := s.takeOwnership(ctx, r.Path); err != nil {
					return fmt.Errorf("applyFSGroup failed for vol %s: %w", v.handle, err)
				}
			}
			return s.expand(ctx, node, can, st, r)
		}
		if err != nil {
			return err
		}
	}
}

func capabilities(ctx context.Context, node CSINode) (CSICapabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, csiTimeout)
	defer cancel()
	return node.Capabilities(ctx)
}

func (s *setup) stage(ctx context.Context, node CSINode, dir string, v *csiVolume, req CSIRequest) error {
	var err error
	if req.Secrets, err = s.csiSecrets(ctx, "NodeStageSecretRef", v.stage); err != nil {
		return opError("MountVolume.MountDevice failed", err)
	}
	req.Staging = stagingMount(dir)
	if err := os.MkdirAll(req.Staging, 0o750); err != nil {
		return err
	}
	note := staging{Driver: v.driver, Handle: v.handle, Boot: bootID()}
	if err := writeJSON(stagingFile(dir), note); err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, csiTimeout)
	defer cancel()
	if err := node.Stage(call, req); err != nil {
		return opError("MountVolume.MountDevice failed", err)
	}
	note.Done = true
	return writeJSON(stagingFile(dir), note)
}

func (s *setup) publish(ctx context.Context, node CSINode, info *storagev1.CSIDriverSpec, v *csiVolume, req CSIRequest, target string) error {
	var err error
	if req.Secrets, err = s.csiSecrets(ctx, "NodePublishSecretRef", v.publish); err != nil {
		return err
	}
	req.Target, req.Context = target, maps.Clone(req.Context)
	if req.Context == nil {
		req.Context = make(map[string]string)
	}
	if info.PodInfoOnMount != nil && *info.PodInfoOnMount {
		maps.Copy(req.Context, podInfo(s.pod, v.ephemeral))
	}
	tokens, err := s.driverTokens(ctx, info.TokenRequests)
	if err != nil {
		return fmt.Errorf("service account tokens for driver %s: %w", v.driver, err)
	}
	if info.ServiceAccountTokenInSecrets != nil && *info.ServiceAccountTokenInSecrets {
		maps.Copy(req.Secrets, tokens)
	} else {
		maps.Copy(req.Context, tokens)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, csiTimeout)
	defer cancel()
	return node.Publish(call, req)
}

// driverTokens are the tokens of the pod's service account that a driver asks for:
// https://kubernetes-csi.github.io/docs/token-requests.html
func (s *setup) driverTokens(ctx context.Context, requests []storagev1.TokenRequest) (map[string]string, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	account := s.pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	all := make(map[string]authenticationv1.TokenRequestStatus, len(requests))
	for _, r := range requests {
		req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: r.ExpirationSeconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: s.pod.Name, UID: s.pod.UID},
		}}
		if r.Audience != "" {
			req.Spec.Audiences = []string{r.Audience}
		}
		got, err := s.m.cfg.Source.Token(ctx, s.pod.Namespace, account, req)
		if err != nil {
			return nil, err
		}
		all[r.Audience] = got.Status
	}
	text, err := json.Marshal(all)
	return map[string]string{"csi.storage.k8s.io/serviceAccount.tokens": string(text)}, err
}

// csiSecrets reads the secret that a driver's call needs, by the name of its field.
func (s *setup) csiSecrets(ctx context.Context, field string, ref *corev1.SecretReference) (map[string]string, error) {
	out := make(map[string]string)
	if ref == nil {
		return out, nil
	}
	secret, err := s.m.cfg.Source.Secret(ctx, ref.Namespace, ref.Name)
	if missing(err) {
		err = fmt.Errorf("secrets %q not found", ref.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("fetching %s %s/%s failed: %w", field, ref.Namespace, ref.Name, err)
	}
	for k, v := range secret.Data {
		out[k] = string(v)
	}
	return out, nil
}

// refreshCSI does for a volume that containers use what its driver or its claim asks
// for: to be published anew, to grow.
func (s *setup) refreshCSI(ctx context.Context, v *corev1.Volume, r record) error {
	info, err := s.m.driverInfo(ctx, r.Driver)
	if err != nil {
		return err
	}
	again := info.RequiresRepublish != nil && *info.RequiresRepublish
	if again {
		s.refreshBy(time.Now().Add(republish))
	}
	st, err := s.resolve(ctx, v)
	if err != nil || st.csi == nil || st.csi.handle != r.Handle {
		return nil //nolint:nilerr // what became of the claim is no matter of containers that run
	}
	if !again && st.csi.size <= max(st.csi.claimed, r.Size) {
		return nil
	}
	was := r
	r.Done = !again
	err = s.csi(ctx, st, &r)
	if r.Done = true; err == nil && r != was {
		err = s.m.writeRecord(string(s.pod.UID), r)
	}
	if err != nil {
		return &Error{Volume: r.Name, Err: err}
	}
	return nil
}

// refreshBy asks for a refresh no later than at.
func (s *setup) refreshBy(at time.Time) {
	if p := &s.prepared; p.Refresh.IsZero() || at.Before(p.Refresh) {
		p.Refresh = at
	}
}

// expand grows a volume for which the cloud's part is done, and reports it: the claim
// then shows the new size.
func (s *setup) expand(ctx context.Context, node CSINode, can CSICapabilities, st storage, r *record) error {
	v := st.csi
	if !can.Expand || st.readOnly || v.ephemeral || v.claimed == 0 || v.size <= max(v.claimed, r.Size) {
		return nil
	}
	secrets, err := s.csiSecrets(ctx, "NodeExpandSecretRef", v.grow)
	if err != nil {
		return opError("NodeExpandVolume failed", err)
	}
	req := CSIRequest{VolumeID: v.handle, Target: r.Path, AccessMode: string(v.accessMode), FSType: v.fsType, Options: st.options, Block: st.block, Secrets: secrets}
	if can.Stage {
		req.Staging = stagingMount(s.m.stagingDir(v.driver, v.handle))
	}
	call, cancel := context.WithTimeout(ctx, csiTimeout)
	defer cancel()
	if _, err := node.Expand(call, req, v.size); err != nil {
		return opError("NodeExpandVolume failed", err)
	}
	grown := v.claim.DeepCopy()
	grown.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(v.size, resource.BinarySI)}
	if err := s.m.cfg.Expanded(ctx, grown); err != nil {
		return err
	}
	r.Size = v.size
	return nil
}
