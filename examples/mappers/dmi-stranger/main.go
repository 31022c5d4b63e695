package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/examples/mappers/dmi-stranger/dmi"
)

func main() {
	name := flag.String("name", "dmi-stranger", "name of this mapper")
	protocol := flag.String("protocol", "made-up", "protocolName of its devices")
	address := flag.String("socket", "/etc/kubeedge/dmi-stranger.sock", "socket of this mapper")
	edgecore := flag.String("edgecore", "/etc/kubeedge/dmi.sock", "socket of edgecore")
	every := flag.Duration("every", time.Second, "how often values are reported")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	m := &mapper{name: *name, protocol: *protocol, socket: *address, every: *every, devices: make(map[string]*dmi.Device)}
	if err := m.run(ctx, *edgecore); err != nil {
		log.Fatal("dmi-stranger: ", err)
	}
}

// mapper is a mapper of devices that do at once what is desired of them.
type mapper struct {
	dmi.UnimplementedDeviceMapperServiceServer
	name, protocol, socket string
	every                  time.Duration

	mu      sync.Mutex
	devices map[string]*dmi.Device
}

func (m *mapper) run(ctx context.Context, edgecore string) error {
	os.Remove(m.socket) // of an earlier run
	listener, err := net.Listen("unix", m.socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	dmi.RegisterDeviceMapperServiceServer(server, m)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient("unix://"+edgecore, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	manager := dmi.NewDeviceManagerServiceClient(conn)
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	registered := false
	for {
		if !registered {
			if err := m.register(ctx, manager); err != nil {
				log.Print("register: ", err)
			} else {
				registered = true
			}
		}
		if registered {
			m.report(ctx, manager)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return errors.Join(errors.New("serving ended"), err)
		case <-tick.C:
		}
	}
}

func (m *mapper) register(ctx context.Context, manager dmi.DeviceManagerServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := manager.MapperRegister(ctx, &dmi.MapperRegisterRequest{WithData: true, Mapper: &dmi.MapperInfo{
		Name: m.name, Version: "1", ApiVersion: "v1beta1", Protocol: m.protocol, Address: []byte(m.socket), State: "ok",
	}})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range r.DeviceList {
		if m.devices[id(d)] == nil {
			m.devices[id(d)] = d
		}
	}
	return nil
}

// report reports the state and all values of all devices.
func (m *mapper) report(ctx context.Context, manager dmi.DeviceManagerServiceClient) {
	m.mu.Lock()
	var reports []*dmi.ReportDeviceStatusRequest
	for _, d := range m.devices {
		status := &dmi.DeviceStatus{}
		for _, p := range d.Spec.Properties {
			if p.Desired.GetValue() == "" {
				continue
			}
			status.Twins = append(status.Twins, &dmi.Twin{PropertyName: p.Name, ObservedDesired: p.Desired, Reported: &dmi.TwinProperty{
				Value:    p.Desired.Value,
				Metadata: map[string]string{"type": p.Desired.Metadata["type"], "timestamp": strconv.FormatInt(time.Now().UnixMilli(), 10)},
			}})
		}
		reports = append(reports, &dmi.ReportDeviceStatusRequest{DeviceName: d.Name, DeviceNamespace: d.Namespace, ReportedDevice: status})
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, r := range reports {
		_, err1 := manager.ReportDeviceStates(ctx, &dmi.ReportDeviceStatesRequest{DeviceName: r.DeviceName, DeviceNamespace: r.DeviceNamespace, State: "online"})
		_, err2 := manager.ReportDeviceStatus(ctx, r)
		if err := errors.Join(err1, err2); err != nil {
			log.Printf("report %s: %v", r.DeviceName, err)
		}
	}
}

func id(d *dmi.Device) string { return d.Namespace + "/" + d.Name }

func (m *mapper) put(d *dmi.Device, replace bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if replace || m.devices[id(d)] == nil {
		m.devices[id(d)] = d
	}
}

func (m *mapper) RegisterDevice(_ context.Context, r *dmi.RegisterDeviceRequest) (*dmi.RegisterDeviceResponse, error) {
	m.put(r.Device, false)
	return &dmi.RegisterDeviceResponse{DeviceName: r.Device.Name, DeviceNamespace: r.Device.Namespace}, nil
}

func (m *mapper) UpdateDevice(_ context.Context, r *dmi.UpdateDeviceRequest) (*dmi.UpdateDeviceResponse, error) {
	m.put(r.Device, true)
	return &dmi.UpdateDeviceResponse{}, nil
}

func (m *mapper) RemoveDevice(_ context.Context, r *dmi.RemoveDeviceRequest) (*dmi.RemoveDeviceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.devices, r.DeviceNamespace+"/"+r.DeviceName)
	return &dmi.RemoveDeviceResponse{}, nil
}

func (m *mapper) CreateDeviceModel(_ context.Context, r *dmi.CreateDeviceModelRequest) (*dmi.CreateDeviceModelResponse, error) {
	return &dmi.CreateDeviceModelResponse{DeviceModelName: r.Model.Name, DeviceModelNamespace: r.Model.Namespace}, nil
}

func (m *mapper) UpdateDeviceModel(context.Context, *dmi.UpdateDeviceModelRequest) (*dmi.UpdateDeviceModelResponse, error) {
	return &dmi.UpdateDeviceModelResponse{}, nil
}

func (m *mapper) RemoveDeviceModel(context.Context, *dmi.RemoveDeviceModelRequest) (*dmi.RemoveDeviceModelResponse, error) {
	return &dmi.RemoveDeviceModelResponse{}, nil
}

func (m *mapper) GetDevice(_ context.Context, r *dmi.GetDeviceRequest) (*dmi.GetDeviceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[r.DeviceNamespace+"/"+r.DeviceName]
	if d == nil {
		return nil, status.Error(codes.NotFound, fmt.Sprintf("device %s is not known", r.DeviceName))
	}
	return &dmi.GetDeviceResponse{Device: d}, nil
}
