package mapper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/dmi/internal/socket"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
)

// Config sets up a Link. Name, Protocol and Socket are required.
type Config struct {
	Name     string // of the mapper, unique on the node
	Version  string // of the mapper; free text
	Protocol string // the protocolName of its devices; the same as in device.Config
	Socket   string // where edgecore calls this mapper: /PATH or unix:///PATH; it is made
	Group    int    // number of a group that may open it besides this user; 0 means none
	Edgecore string // edgecore's socket; empty means /etc/kubeedge/dmi.sock
	// Backoff is the pause before a registration that failed is tried again, doubled up to
	// 32 times that; 0 means 1 s.
	Backoff time.Duration
	Logger  *slog.Logger // nil discards
}

// Link is a device.Link over DMI. Make one with New.
type Link struct {
	cfg   Config
	codec *v1beta1.Codec
	view  *view
	conn  atomic.Pointer[grpc.ClientConn] // to edgecore, while Watch runs
}

var _ device.Link = (*Link)(nil)

// New checks cfg and allocates a Link.
func New(cfg Config) (*Link, error) {
	if cfg.Name == "" || cfg.Protocol == "" {
		return nil, errors.New("device/dmi/mapper: Config.Name and Config.Protocol are required")
	}
	if cfg.Edgecore == "" {
		cfg.Edgecore = "/etc/kubeedge/dmi.sock"
	}
	var err1, err2 error
	if cfg.Socket, err1 = socket.Path(cfg.Socket); err1 != nil {
		return nil, fmt.Errorf("device/dmi/mapper: Config.Socket: %w", err1)
	}
	if cfg.Edgecore, err2 = socket.Path(cfg.Edgecore); err2 != nil {
		return nil, fmt.Errorf("device/dmi/mapper: Config.Edgecore: %w", err2)
	}
	if cfg.Backoff < 0 || cfg.Group < 0 {
		return nil, errors.New("device/dmi/mapper: Config.Backoff and Config.Group must not be negative")
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Link{cfg: cfg, codec: v1beta1.NewCodec(), view: newView()}, nil
}

// Watch registers the mapper and follows its devices; see device.Link. It fails when its
// socket cannot be made.
func (l *Link) Watch(ctx context.Context, changed func([]device.Instance)) error {
	listener, err := socket.Listen(l.cfg.Socket, l.cfg.Group)
	if err != nil {
		return fmt.Errorf("device/dmi/mapper: socket: %w", err)
	}
	conn, err := socket.Dial(l.cfg.Edgecore, l.codec, nil)
	if err != nil {
		listener.Close()
		return fmt.Errorf("device/dmi/mapper: edgecore: %w", err)
	}
	l.conn.Store(conn)
	defer func() {
		l.conn.Store(nil)
		conn.Close()
	}()
	tasks, tctx := errgroup.WithContext(ctx)
	server := socket.NewServer(l.codec)
	v1beta1.RegisterDeviceMapper(server, service{l.view})
	tasks.Go(func() error { return socket.Serve(tctx, server, listener) })
	tasks.Go(func() error {
		l.register(tctx, conn)
		return nil
	})
	tasks.Go(func() error {
		l.view.follow(tctx, changed)
		return nil
	})
	if err := tasks.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("device/dmi/mapper: %w", err)
	}
	return nil
}

// register registers the mapper each time that the connection to edgecore is there.
func (l *Link) register(ctx context.Context, conn *grpc.ClientConn) {
	failed, registered := 0, false
	for ctx.Err() == nil {
		state := conn.GetState()
		switch {
		case state == connectivity.Idle:
			conn.Connect()
		case state != connectivity.Ready:
			registered = false
		case !registered:
			err := l.registerOnce(ctx, conn)
			if registered = err == nil; registered {
				failed = 0
				continue
			}
			if ctx.Err() != nil {
				return
			}
			l.cfg.Logger.Warn("mapper cannot register; trying again", "edgecore", l.cfg.Edgecore, "err", err)
			pause := time.NewTimer(l.cfg.Backoff << min(failed, 5))
			failed++
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
			}
			continue
		}
		conn.WaitForStateChange(ctx, state)
		if state == connectivity.Ready {
			registered = false
		}
	}
}

func (l *Link) registerOnce(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	l.view.begin()
	var header metadata.MD
	response := new(v1beta1.MapperRegisterResponse)
	err := conn.Invoke(ctx, "/"+v1beta1.DeviceManagerService+"/MapperRegister", &v1beta1.MapperRegisterRequest{
		WithData: true,
		Mapper: &v1beta1.MapperInfo{
			Name: l.cfg.Name, Version: l.cfg.Version, APIVersion: "v1beta1", Protocol: l.cfg.Protocol,
			Address: []byte(l.cfg.Socket), State: "ok", Edgekit: true,
		},
	}, response, grpc.Header(&header))
	if err != nil {
		return err
	}
	left := header.Get(v1beta1.HeaderDevicesLeft)
	for _, err := range l.view.replace(response, len(left) > 0) {
		l.cfg.Logger.Warn("device is left out", "err", err)
	}
	l.cfg.Logger.Info("mapper has registered", "edgecore", l.cfg.Edgecore, "devices", len(response.DeviceList))
	return nil
}

// Report reports actual values and waits until they are durable.
func (l *Link) Report(ctx context.Context, id string, values map[string]string) error {
	namespace, name, _ := strings.Cut(id, "/")
	twins := l.view.report(id, values)
	conn := l.conn.Load()
	if conn == nil {
		return errors.New("device/dmi/mapper: Report: Watch does not run")
	}
	ctx = metadata.AppendToOutgoingContext(ctx, v1beta1.HeaderWhole, "1")
	_, err := v1beta1.NewManager(conn).ReportDeviceStatus(ctx, &v1beta1.ReportDeviceStatusRequest{
		DeviceName: name, DeviceNamespace: namespace, ReportedDevice: &v1beta1.DeviceStatus{Twins: twins},
	})
	return markRefused(id, err)
}

// State reports a device's state and waits until it is durable.
func (l *Link) State(ctx context.Context, id, state string) error {
	namespace, name, _ := strings.Cut(id, "/")
	conn := l.conn.Load()
	if conn == nil {
		return errors.New("device/dmi/mapper: State: Watch does not run")
	}
	ctx = metadata.AppendToOutgoingContext(ctx, v1beta1.HeaderWithin, strconv.FormatInt(device.Within.Milliseconds(), 10))
	_, err := v1beta1.NewManager(conn).ReportDeviceStates(ctx, &v1beta1.ReportDeviceStatesRequest{DeviceName: name, DeviceNamespace: namespace, State: state})
	return markRefused(id, err)
}

// markRefused wraps ErrRefused around the errors that are final.
func markRefused(id string, err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.FailedPrecondition, codes.OutOfRange:
		return fmt.Errorf("device/dmi/mapper: %s: %w: %w", id, device.ErrRefused, err)
	}
	return fmt.Errorf("device/dmi/mapper: %s: %w", id, err)
}
