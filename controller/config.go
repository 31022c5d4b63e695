package controller

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/groups"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/nodeapi"
	"github.com/edgekit/edgekit/controller/pipelines"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/controller/sites"
)

// Config sets up a Controller. ID is required, and so is REST or all three
// clients.
type Config struct {
	// REST is how the API server is reached in cloudcore's own name. It is not
	// changed. Its rate limits are not used: the API server's own priority and
	// fairness decides.
	REST *rest.Config
	// Cloud, Dynamic and NodeClient take the place of clients made from REST, for
	// example in tests.
	Cloud      kubernetes.Interface
	Dynamic    dynamic.Interface
	NodeClient kubernetes.Interface
	// Impersonation is how a NodeClient that is made from REST acts as nodes. "" means
	// ImpersonationConstrained, which needs Kubernetes 1.36 and the role of package
	// install. DetectImpersonation finds what the cluster supports.
	Impersonation Impersonation
	// ID names this run of cloudcore; it must differ from that of every other,
	// also of an earlier one on the same machine.
	ID string
	// DeviceStatusEvery is the least time between two writes of one
	// DeviceStatus; 0 means 1s.
	DeviceStatusEvery time.Duration
	// DeviceWrites is how many writes about devices the API server gets in a second; 0
	// means 100, negative is no bound.
	DeviceWrites int
	// PodsNotReadyAfter is how long a node is without a link before its pods are set to not
	// ready, so that Services do not lead there; 0 means 1m, negative means never. See
	// nodelifecycle.NotReadyAfterLabel for the setting of one node.
	PodsNotReadyAfter time.Duration
	// ReconnectGrace is how long after its start this cloudcore leaves all pods as they are,
	// so that nodes can connect to it; 0 means 1m, negative gives no time.
	ReconnectGrace time.Duration
	// ReadinessWrites is how many pods are set to not ready in a second; 0 means 100, negative
	// is no bound.
	ReadinessWrites int
	// Live gets the reports of devices as they come; nil has none. twins.Store is one.
	Live devices.Live
	// Kubelet sets up the nodes' kubelet endpoints, which the Controller serves;
	// nil leaves Nodes without. It is not changed; its Nodes must be nil.
	Kubelet *kubeletproxy.Config
	// Rules sets up rules (rules.kubeedge.io), which then need their resources and rights in
	// the cluster; nil leaves them to nobody. It is not changed; its Nodes must be nil.
	Rules *rules.Config
	// Jobs sets up fleet jobs (operations.kubeedge.io), which then need their resources and
	// rights in the cluster; nil leaves them to nobody. It is not changed; its Nodes must be nil.
	Jobs *jobs.Config
	// Console sets up the web console, which the Controller serves; nil has none. It is not
	// changed; its Nodes, Pods, Devices, Jobs and Live must be nil, and it needs a Listener and a
	// Certificate. If it ends with an error, the Controller logs that and goes on.
	Console *console.Config
	// Groups sets up NodeGroups and EdgeApplications (apps.kubeedge.io), which then need their
	// resources and rights in the cluster; nil leaves them to nobody. It is not changed; its Nodes
	// must be nil.
	Groups *groups.Config
	// Sites sets up EdgeSyncs (sites.edgekit.io), which then need their resources and rights in the
	// cluster; nil leaves them to nobody. It is not changed; its Nodes must be nil.
	Sites *sites.Config
	// Pipelines sets up pipelines (pipelines.edgekit.io), which then need their resource and rights
	// in the cluster; nil leaves them to nobody. It is not changed; its Nodes must be nil.
	Pipelines *pipelines.Config
	// NodeServices decides which nodes may have all Services; "" means those that
	// an operator marked.
	NodeServices nodeapi.Services
	// NodeRequests is how many requests of pods on nodes are open at the API server at a time,
	// and NodeRequestsEach how many of one node; 0 means 4096 and 256.
	NodeRequests, NodeRequestsEach int
	// Metrics registers the metrics of these requests; nil registers them nowhere.
	Metrics prometheus.Registerer
	// Namespace is that of edgekit's own objects; "" means install.Namespace.
	Namespace string
	// Logger gets what goes wrong; nil discards.
	Logger *slog.Logger
}

// connect makes the clients that are not given.
func (cfg *Config) connect() error {
	if cfg.Cloud != nil && cfg.Dynamic != nil && cfg.NodeClient != nil {
		return nil
	}
	if cfg.REST == nil {
		return errors.New("controller: Config.REST is required")
	}
	own := rest.CopyConfig(cfg.REST)
	own.QPS, own.Burst = -1, 0
	hc, err := impersonate.HTTPClient(own)
	if err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	if cfg.Cloud == nil {
		if cfg.Cloud, err = kubernetes.NewForConfigAndClient(own, hc); err != nil {
			return fmt.Errorf("controller: %w", err)
		}
	}
	if cfg.Dynamic == nil {
		if cfg.Dynamic, err = dynamic.NewForConfigAndClient(own, hc); err != nil {
			return fmt.Errorf("controller: %w", err)
		}
	}
	if cfg.NodeClient == nil {
		if cfg.NodeClient, err = impersonate.Client(own, cmp.Or(cfg.Impersonation, ImpersonationConstrained)); err != nil {
			return fmt.Errorf("controller: %w", err)
		}
	}
	return nil
}
