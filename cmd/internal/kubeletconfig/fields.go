package kubeletconfig

// Use says what edgecore does with a field.
type Use int

// The values of a Use.
const (
	Used        Use = iota // Flag has its value
	NotYet                 // Flag will have its value: the setting is on its way
	Otherwise              // edgecore does what the field sets in another way
	NotNeeded              // edgecore has nothing that the field could set
	Unsupported            // edgecore cannot do what the field sets
)

// Kind is the form of a field's value.
type Kind int

// The values of a Kind.
const (
	String Kind = iota
	Bool
	Int
	Float
	Duration  // a string such as 10s
	Strings   // a list
	Ints      // a list
	StringMap // texts by name
	BoolMap
	ListMap    // lists of texts by name
	Quantities // quantities by name: texts or numbers
	Any        // several forms; not looked at
)

// Field is a field of a KubeletConfiguration.
type Field struct {
	Path    string // names of nested fields with dots between them, [] after that of a list
	Kind    Kind
	Pointer bool // the type has a pointer: the zero value counts as given
	Use     Use
	Flag    string // edgecore's setting, for Used and NotYet; "" if another field of its list gives it
	Why     string // for all others: the reason, and the remedy if there is one
}

// Reasons that several fields share.
const (
	endpoint = "cloudcore serves the node's kubelet endpoint; its settings are --kubelet-*"
	noAPI    = "the node asks the API server nothing: cloudcore does"
	ownCerts = "the node's certificate comes from edgecore join and is renewed by itself"
	unit     = "the systemd unit of edgecore sets it"
	ownLog   = "edgecore has --log-level and --log-format"
	noTrace  = "traces go by OTLP over HTTP: --tracing-endpoint, --tracing-sampling"
	debug    = "edgecore has no such paths"
	cni      = "the network plugin and kube-proxy do this"
)

// Fields decides about every field, in the order of the type.
func Fields() []Field {
	return []Field{
		{"enableServer", Bool, true, Otherwise, "", endpoint},
		{"staticPodPath", String, false, Used, "static-pod-dir", ""},
		{"podLogsDir", String, false, Used, "pod-log-dir", ""},
		{"syncFrequency", Duration, false, NotNeeded, "", "pods are looked at when something changes"},
		{"fileCheckFrequency", Duration, false, Used, "file-check-frequency", ""},
		{"httpCheckFrequency", Duration, false, Used, "http-check-frequency", ""},
		{"staticPodURL", String, false, Used, "manifest-url", ""},
		{"staticPodURLHeader", ListMap, false, Used, "manifest-url-header", ""},
		{"address", String, false, Otherwise, "", endpoint},
		{"port", Int, false, Otherwise, "", endpoint},
		{"readOnlyPort", Int, false, Unsupported, "", "there is no port without authentication; --metrics-listen serves metrics"},
		{"tlsCertFile", String, false, Otherwise, "", endpoint},
		{"tlsPrivateKeyFile", String, false, Otherwise, "", endpoint},
		{"tlsCipherSuites", Strings, false, Otherwise, "", endpoint},
		{"tlsCurvePreferences", Ints, false, Otherwise, "", endpoint},
		{"tlsMinVersion", String, false, Otherwise, "", endpoint},
		{"rotateCertificates", Bool, false, Otherwise, "", ownCerts},
		{"serverTLSBootstrap", Bool, false, Otherwise, "", endpoint},
		{"authentication.x509.clientCAFile", String, false, Otherwise, "", endpoint},
		{"authentication.webhook.enabled", Bool, true, Otherwise, "", endpoint},
		{"authentication.webhook.cacheTTL", Duration, false, Otherwise, "", endpoint},
		{"authentication.anonymous.enabled", Bool, true, Otherwise, "", endpoint},
		{"authorization.mode", String, false, Otherwise, "", endpoint},
		{"authorization.webhook.cacheAuthorizedTTL", Duration, false, Otherwise, "", endpoint},
		{"authorization.webhook.cacheUnauthorizedTTL", Duration, false, Otherwise, "", endpoint},
		{"registryPullQPS", Int, true, Used, "registry-qps", ""},
		{"registryBurst", Int, false, Used, "registry-burst", ""},
		{"imagePullCredentialsVerificationPolicy", String, false, Used, "image-pull-credentials-verification", ""},
		{"preloadedImagesVerificationAllowlist", Strings, false, Used, "preloaded-images-verification-allowlist", ""},
		{"eventRecordQPS", Int, true, Used, "event-qps", ""},
		{"eventBurst", Int, false, Used, "event-burst", ""},
		{"enableDebuggingHandlers", Bool, true, Otherwise, "", endpoint},
		{"enableContentionProfiling", Bool, false, NotNeeded, "", debug},
		{"healthzPort", Int, true, Otherwise, "", "the socket DATA-DIR/api/kubelet.sock answers /healthz"},
		{"healthzBindAddress", String, false, Otherwise, "", "the socket DATA-DIR/api/kubelet.sock answers /healthz"},
		{"oomScoreAdj", Int, true, Otherwise, "", unit},
		{"clusterDomain", String, false, Used, "cluster-domain", ""},
		{"clusterDNS", Strings, false, Used, "cluster-dns", ""},
		{"streamingConnectionIdleTimeout", Duration, false, Unsupported, "", "sessions end when either side goes away"},
		{"nodeStatusUpdateFrequency", Duration, false, Used, "node-status-update-frequency", ""},
		{"nodeStatusReportFrequency", Duration, false, NotNeeded, "", "the node's status is reported when it changes"},
		{"nodeLeaseDurationSeconds", Int, false, Otherwise, "", "cloudcore renews the node's Lease"},
		{"imageMinimumGCAge", Duration, false, Used, "image-minimum-gc-age", ""},
		{"imageMaximumGCAge", Duration, false, Used, "image-maximum-gc-age", ""},
		{"imageGCHighThresholdPercent", Int, true, Used, "image-gc-high-threshold-percent", ""},
		{"imageGCLowThresholdPercent", Int, true, Used, "image-gc-low-threshold-percent", ""},
		{"volumeStatsAggPeriod", Duration, false, NotNeeded, "", "volumes are measured when they are asked for"},
		{"kubeletCgroups", String, false, Otherwise, "", unit},
		{"systemCgroups", String, false, Unsupported, "", "no process is moved to another cgroup; systemd has the machine's daemons in system.slice"},
		{"cgroupRoot", String, false, Used, "cgroup-root", ""},
		{"cgroupsPerQOS", Bool, true, Used, "cgroups-per-qos", ""},
		{"cgroupDriver", String, false, Otherwise, "", "the container runtime is asked; give --cgroup-driver for one that cannot say"},
		{"cpuManagerPolicy", String, false, Used, "cpu-manager-policy", ""},
		{"singleProcessOOMKill", Bool, true, Unsupported, "", "the container runtime decides about memory.oom.group"},
		{"cpuManagerPolicyOptions", StringMap, false, Used, "cpu-manager-policy-options", ""},
		{"cpuManagerReconcilePeriod", Duration, false, Used, "cpu-manager-reconcile-period", ""},
		{"memoryManagerPolicy", String, false, Used, "memory-manager-policy", ""},
		{"topologyManagerPolicy", String, false, Used, "topology-manager-policy", ""},
		{"topologyManagerScope", String, false, Used, "topology-manager-scope", ""},
		{"topologyManagerPolicyOptions", StringMap, false, Used, "topology-manager-policy-options", ""},
		{"qosReserved", StringMap, false, Unsupported, "", "memory is not reserved by class of service; --memory-reservation-policy protects requests"},
		{"runtimeRequestTimeout", Duration, false, NotNeeded, "", "each call of the runtime has a limit of its own kind"},
		{"hairpinMode", String, false, Otherwise, "", cni},
		{"maxPods", Int, false, Used, "max-pods", ""},
		{"podCIDR", String, false, Unsupported, "", "the network plugin's configuration has the addresses of pods"},
		{"podPidsLimit", Int, true, Used, "pod-max-pids", ""},
		{"resolvConf", String, true, Used, "resolv-conf", ""},
		{"runOnce", Bool, false, Unsupported, "", "a kubelet refuses it too"},
		{"cpuCFSQuota", Bool, true, Used, "cpu-cfs-quota", ""},
		{"cpuCFSQuotaPeriod", Duration, true, Used, "cpu-cfs-quota-period", ""},
		{"nodeStatusMaxImages", Int, true, Used, "node-status-max-images", ""},
		{"maxOpenFiles", Int, false, Otherwise, "", unit},
		{"contentType", String, false, NotNeeded, "", noAPI},
		{"kubeAPIQPS", Int, true, NotNeeded, "", noAPI},
		{"kubeAPIBurst", Int, false, NotNeeded, "", noAPI},
		{"serializeImagePulls", Bool, true, Used, "serialize-image-pulls", ""},
		{"maxParallelImagePulls", Int, true, Used, "max-parallel-image-pulls", ""},
		{"evictionHard", StringMap, false, Used, "eviction-hard", ""},
		{"evictionSoft", StringMap, false, Used, "eviction-soft", ""},
		{"evictionSoftGracePeriod", StringMap, false, Used, "eviction-soft-grace-period", ""},
		{"evictionPressureTransitionPeriod", Duration, false, Used, "eviction-pressure-transition-period", ""},
		{"evictionMaxPodGracePeriod", Int, false, Used, "eviction-max-pod-grace-period", ""},
		{"evictionMinimumReclaim", StringMap, false, Used, "eviction-minimum-reclaim", ""},
		{"mergeDefaultEvictionSettings", Bool, true, Used, "merge-default-eviction-settings", ""},
		{"podsPerCore", Int, false, Used, "pods-per-core", ""},
		{"enableControllerAttachDetach", Bool, true, Otherwise, "", "the cluster's controller always attaches volumes"},
		{"protectKernelDefaults", Bool, false, NotNeeded, "", "edgecore changes no setting of the kernel"},
		{"makeIPTablesUtilChains", Bool, true, NotNeeded, "", cni},
		{"iptablesMasqueradeBit", Int, true, NotNeeded, "", cni},
		{"iptablesDropBit", Int, true, NotNeeded, "", cni},
		{"featureGates", BoolMap, false, Unsupported, "", "edgecore has no feature gates: what it can do is on, or has a setting"},
		{"failSwapOn", Bool, true, Used, "fail-swap-on", ""},
		{"memorySwap.swapBehavior", String, false, Used, "memory-swap-behavior", ""},
		{"containerLogMaxSize", String, false, Used, "container-log-max-size", ""},
		{"containerLogMaxFiles", Int, true, Used, "container-log-max-files", ""},
		{"containerLogMaxWorkers", Int, true, Used, "container-log-max-workers", ""},
		{"containerLogMonitorInterval", Duration, true, Used, "container-log-monitor-interval", ""},
		{"configMapAndSecretChangeDetectionStrategy", String, false, Otherwise, "", "the cloud sends each change"},
		{"systemReserved", StringMap, false, Used, "system-reserved", ""},
		{"kubeReserved", StringMap, false, Used, "kube-reserved", ""},
		{"reservedSystemCPUs", String, false, Used, "reserved-cpus", ""},
		{"showHiddenMetricsForVersion", String, false, NotNeeded, "", "edgecore hides no metrics"},
		{"systemReservedCgroup", String, false, Used, "system-reserved-cgroup", ""},
		{"kubeReservedCgroup", String, false, Used, "kube-reserved-cgroup", ""},
		{"enforceNodeAllocatable", Strings, false, Used, "enforce-node-allocatable", ""},
		{"allowedUnsafeSysctls", Strings, false, Used, "allowed-unsafe-sysctls", ""},
		{"defaultPodSysctls", StringMap, false, Unsupported, "", "pods have the sysctls that they name"},
		{"volumePluginDir", String, false, Unsupported, "", "there are no FlexVolumes: use a CSI driver"},
		{"providerID", String, false, Used, "provider-id", ""},
		{"kernelMemcgNotification", Bool, false, NotNeeded, "", "memory is measured at each interval"},
		{"logging.format", String, false, Otherwise, "", ownLog},
		{"logging.flushFrequency", Any, false, Otherwise, "", ownLog},
		{"logging.verbosity", Int, false, Otherwise, "", ownLog},
		{"logging.vmodule[].filePattern", String, false, Otherwise, "", ownLog},
		{"logging.vmodule[].verbosity", Int, false, Otherwise, "", ownLog},
		{"logging.options.text.splitStream", Bool, false, Otherwise, "", ownLog},
		{"logging.options.text.infoBufferSize", Any, false, Otherwise, "", ownLog},
		{"logging.options.json.splitStream", Bool, false, Otherwise, "", ownLog},
		{"logging.options.json.infoBufferSize", Any, false, Otherwise, "", ownLog},
		{"enableSystemLogHandler", Bool, true, Unsupported, "", "the machine's logs are not served"},
		{"enableSystemLogQuery", Bool, true, Unsupported, "", "the machine's logs are not served"},
		{"shutdownGracePeriod", Duration, false, Used, "shutdown-grace-period", ""},
		{"shutdownGracePeriodCriticalPods", Duration, false, Used, "shutdown-grace-period-critical-pods", ""},
		{"shutdownGracePeriodByPodPriority[].priority", Int, false, Used, "shutdown-grace-period-by-pod-priority", ""},
		{"shutdownGracePeriodByPodPriority[].shutdownGracePeriodSeconds", Int, false, Used, "", ""},
		{"crashLoopBackOff.maxContainerRestartPeriod", Duration, true, Used, "max-container-restart-period", ""},
		{"reservedMemory[].numaNode", Int, false, Used, "reserved-memory", ""},
		{"reservedMemory[].limits", Quantities, false, Used, "", ""},
		{"enableProfilingHandler", Bool, true, NotNeeded, "", debug},
		{"enableDebugFlagsHandler", Bool, true, NotNeeded, "", debug},
		{"seccompDefault", Bool, true, Used, "seccomp-default", ""},
		{"memoryThrottlingFactor", Float, true, Used, "memory-throttling-factor", ""},
		{"memoryReservationPolicy", String, false, Used, "memory-reservation-policy", ""},
		{"registerWithTaints[].key", String, false, Used, "register-with-taints", ""},
		{"registerWithTaints[].value", String, false, Used, "", ""},
		{"registerWithTaints[].effect", String, false, Used, "", ""},
		{"registerWithTaints[].timeAdded", Any, true, Unsupported, "", "a taint's time is set by the API server: leave it out"},
		{"registerNode", Bool, true, Otherwise, "", "a node that has joined registers itself"},
		{"tracing.endpoint", String, true, Unsupported, "", noTrace},
		{"tracing.samplingRatePerMillion", Int, true, Unsupported, "", noTrace},
		{"localStorageCapacityIsolation", Bool, true, Unsupported, "", "local storage is always looked after; a pod without limits is not concerned"},
		{"containerRuntimeEndpoint", String, false, Used, "runtime-endpoint", ""},
		{"imageServiceEndpoint", String, false, Unsupported, "", "images are at the container runtime's endpoint"},
		{"failCgroupV1", Bool, true, NotNeeded, "", "edgecore runs on cgroup v1 too"},
		{"userNamespaces.idsPerPod", Int, true, Used, "user-namespaces-ids-per-pod", ""},
	}
}
