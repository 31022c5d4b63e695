package imagepull

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/registry"
	"github.com/edgekit/edgekit/edged/runtime"
)

// shown is how long a failed pull shows as ErrImagePull before it shows as
// ImagePullBackOff.
const shown = 2 * time.Second

// Images is the part of a runtime that has images; see runtime.Images.
type Images interface {
	ImageStatus(ctx context.Context, ref string) (runtime.Image, bool, error)
	PullImage(ctx context.Context, ref string, auth *runtime.ImageAuth, sandbox *runtime.SandboxConfig) (string, error)
}

// Secrets reads pull secrets; see edged.Objects.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// CredentialSource gives credentials that are not in a pod's secrets; see
// edged.CredentialSource.
type CredentialSource interface {
	Credentials(ctx context.Context, pod *corev1.Pod, ref image.Ref) ([]image.Credential, error)
}

// identifier is a CredentialSource that knows, also without a link, from which objects the
// credentials for a pod would come.
type identifier interface {
	Sources(ctx context.Context, pod *corev1.Pod, ref image.Ref) []image.Source
}

// Trust says which images of the node a pod may have without a pull of its own
// (KEP-2535).
type Trust int

// The values of a Trust.
const (
	TrustPreloaded Trust = iota // those that were pulled without credentials or with the pod's, and those that the agent did not pull
	TrustAll                    // all
	TrustPulled                 // those that were pulled without credentials or with the pod's
	TrustListed                 // those too that Config.Allowlist names
)

// Config sets up a Puller. Logger, Offline and Trust may have their zero values; all else
// is required.
type Config struct {
	Images     Images
	Secrets    Secrets
	Events     *events.Recorder
	Pulls      *image.Pulls // with which credentials images were pulled
	Registries *registry.Tracker
	Trust      Trust
	Offline    bool // use what the node has where the registry is out of reach, though the policy is Always
	MaxPulls   int  // at the same time; at least 1
	// Credentials are asked, in order, for credentials besides the pods' secrets.
	Credentials []CredentialSource
	Allowlist   image.Allowlist // for TrustListed
	// QPS is how many pulls begin per second, after a Burst; 0 means any number. A pull
	// beyond that waits.
	QPS   float64
	Burst int

	// Settle waits until an image that is being collected is gone, so that it is not taken
	// for one that the node has.
	Settle func(ctx context.Context) error
	// Pulled is called after an image of so many bytes was pulled, with how long that took.
	Pulled func(size uint64, took time.Duration)
	Logger *slog.Logger // nil discards
}

// Puller brings images to the node.
type Puller struct {
	cfg   Config
	log   *slog.Logger
	slots chan struct{} // holds a value for each image being pulled
	rate  *rate.Limiter // of pulls
}

// New makes a Puller. It does no I/O.
func New(cfg Config) *Puller {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	limit := rate.Inf
	if cfg.QPS > 0 {
		limit = rate.Limit(cfg.QPS)
	}
	return &Puller{cfg: cfg, log: log, slots: make(chan struct{}, cfg.MaxPulls), rate: rate.NewLimiter(limit, max(cfg.Burst, 1))}
}

// Request is one image that a container needs: its own, or that of a volume.
type Request struct {
	Pod       *corev1.Pod
	Container string // for events
	Key       string // of the back-off
	Image     string // as in the spec
	Policy    corev1.PullPolicy
	Sandbox   *runtime.SandboxConfig // of the pod
	BackOffs  *BackOffs              // of the pod
}

// Failure is why a container has no image.
type Failure struct {
	Reason, Message string
	RetryAt         time.Time // when to ask again; zero leaves it to the caller
}

// Ensure brings an image to the node, by its pull policy:
// https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy
func (p *Puller) Ensure(ctx context.Context, want Request) (runtime.Image, *Failure) {
	event := p.eventsOf(want)
	ref, err := image.Parse(want.Image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", want.Image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonInvalidImageName)
		return runtime.Image{}, &Failure{Reason: plan.ReasonInvalidImageName, Message: message}
	}
	// An image that is being collected is gone when it is looked for. From here on this
	// pod keeps it.
	if err := p.cfg.Settle(ctx); err != nil {
		return runtime.Image{}, &Failure{Reason: plan.ReasonImageInspectError, Message: err.Error()}
	}
	img, have, err := p.cfg.Images.ImageStatus(ctx, ref.String())
	if err != nil {
		message := fmt.Sprintf("Failed to inspect image %q: %v", want.Image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		return runtime.Image{}, &Failure{Reason: plan.ReasonImageInspectError, Message: message}
	}
	// The API server fills the policy in. A static pod has no API server.
	policy := want.Policy
	if policy == "" {
		policy = corev1.PullIfNotPresent
		if ref.Tag == "latest" {
			policy = corev1.PullAlways
		}
	}
	if have && policy != corev1.PullAlways && p.mayUseWithoutPull(ctx, want, ref, img) {
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", want.Image))
		return img, nil
	}
	if policy == corev1.PullNever {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", want.Image)
		if have {
			message = fmt.Sprintf("Container image %q is on the node, but was pulled with credentials that this pod does not have, and its pull policy is Never: "+
				"name a pull secret of the registry in imagePullSecrets, or use the policy IfNotPresent", want.Image)
		}
		event(corev1.EventTypeWarning, plan.ReasonErrImageNeverPull, message)
		event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonErrImageNeverPull)
		return runtime.Image{}, &Failure{Reason: plan.ReasonErrImageNeverPull, Message: message}
	}
	return p.pull(ctx, want, ref, img)
}

// Prune forgets who pulled the images that are no longer on the node. all is what the
// runtime lists.
func (p *Puller) Prune(all []runtime.Image) {
	present := make([]image.Present, 0, len(all))
	for _, i := range all {
		present = append(present, image.Present{ID: i.ID, Names: slices.Concat(i.Tags, i.Digests)})
	}
	switch n, err := p.cfg.Pulls.Prune(present); {
	case err != nil:
		p.log.Warn("records of image pulls cannot be removed; trying again when images are listed next", "err", err)
	case n > 0:
		p.log.Debug("records of pulls of images that are gone were removed", "files", n)
	}
}

// eventsOf records events of the container that needs the image.
func (p *Puller) eventsOf(want Request) func(kind, reason, message string) {
	return func(kind, reason, message string) {
		p.cfg.Events.Container(want.Pod, want.Container, kind, reason, message)
	}
}

// mayUseWithoutPull reports whether the pod may have an image that is on the node
// without a pull, by Config.Trust.
func (p *Puller) mayUseWithoutPull(ctx context.Context, want Request, ref image.Ref, present runtime.Image) bool {
	switch p.cfg.Trust {
	case TrustAll:
		return true
	case TrustPreloaded:
		if !p.cfg.Pulls.Pulled(ref, present.ID) {
			return true
		}
	case TrustListed:
		if p.cfg.Allowlist.Names(ref) {
			return true
		}
	}
	if p.cfg.Pulls.Could(ref, present.ID, nil) {
		return true
	}
	keys := p.secrets(ctx, want.Pod, ref)
	return p.cfg.Pulls.Could(ref, present.ID, keys) || p.identified(ctx, want.Pod, ref, present.ID) || p.cfg.Pulls.Could(ref, present.ID, p.others(ctx, want.Pod, ref))
}

// mayUseOffline reports whether the pod may have an image that is on the node
// without its registry being asked: if the registry once gave it for one of these
// credentials.
func (p *Puller) mayUseOffline(ctx context.Context, pod *corev1.Pod, ref image.Ref, present runtime.Image, keys []image.Credential) bool {
	return p.cfg.Offline && (p.cfg.Pulls.Could(ref, present.ID, keys) || p.identified(ctx, pod, ref, present.ID))
}

// useStale records that a container starts with what the node has of an image, though
// its pull policy asks for a pull each time.
func (p *Puller) useStale(want Request, present runtime.Image, why string) runtime.Image {
	want.BackOffs.clear(want.Key)
	p.eventsOf(want)(corev1.EventTypeWarning, "RegistryOutOfReach", fmt.Sprintf(
		"Container image %q is used as it is on the node, where it was pulled with this pod's credentials before: its registry is out of reach (%s)", want.Image, why))
	return present
}
