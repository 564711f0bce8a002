package main

import (
	"context"
	"log"

	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registrant tells the kubelet of the driver, as node-driver-registrar does for others.
type registrant struct {
	registration.UnimplementedRegistrationServer
	endpoint string
}

func (r registrant) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              name,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r registrant) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if s.PluginRegistered {
		log.Print("the kubelet knows the driver")
	} else {
		log.Printf("the kubelet does not take the driver: %s", s.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
