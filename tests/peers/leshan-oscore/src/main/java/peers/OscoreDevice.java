package peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import java.util.Map;

import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.californium.endpoint.CaliforniumClientEndpointsProvider;
import org.eclipse.leshan.client.californium.endpoint.coap.CoapOscoreProtocolProvider;
import org.eclipse.leshan.client.engine.DefaultRegistrationEngineFactory;
import org.eclipse.leshan.client.object.Oscore;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.observer.LwM2mClientObserverAdapter;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.resource.SimpleInstanceEnabler;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.StaticModel;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.node.LwM2mSingleResource;
import org.eclipse.leshan.core.oscore.OscoreSetting;
import org.eclipse.leshan.core.request.BootstrapRequest;
import org.eclipse.leshan.core.request.RegisterRequest;
import org.eclipse.leshan.core.request.UpdateRequest;
import org.eclipse.leshan.core.response.ObserveResponse;
import org.eclipse.leshan.core.response.WriteResponse;

/**
 * A Leshan client that speaks OSCORE: {@code OscoreDevice URI ENDPOINT SENDER:RECIPIENT:SECRET:SALT}, in hexadecimal
 * and as the client sees them, or {@code OscoreDevice URI ENDPOINT bootstrap} to be given them by a bootstrap server
 * that it speaks to without security.
 *
 * Standard input, one command a line: {@code set 22.5} changes /3303/0/5700 and notifies, {@code update},
 * {@code start}, {@code quit}. Standard output: one JSON object a line: bootstrapped, registered, updated, observed,
 * written, failed.
 */
public final class OscoreDevice {

    private OscoreDevice() {
    }

    public static void main(String[] arguments) throws Exception {
        Noticing temperature = new Noticing(Map.of(5700, 21.5));
        LeshanClient client = client(arguments[0], arguments[1], arguments[2], temperature);
        client.start();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null && !line.equals("quit"); line = input.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
            case "set" -> temperature.write(LwM2mServer.SYSTEM, true, 5700,
                    LwM2mSingleResource.newFloatResource(5700, Double.parseDouble(words[1])));
            case "update" -> client.triggerRegistrationUpdate();
            case "start" -> client.start();
            default -> Lines.print("failed", "what", "command", "reason", line);
            }
        }
        client.destroy(false);
        System.exit(0);
    }

    private static LeshanClient client(String uri, String endpoint, String given, Noticing temperature) {
        ObjectsInitializer initializer = new ObjectsInitializer(new StaticModel(Models.all()));
        if (given.equals("bootstrap")) {
            initializer.setInstancesForObject(0, Security.noSecBootstrap(uri));
            initializer.setClassForObject(1, Server.class);
            initializer.setClassForObject(21, Oscore.class);
        } else {
            String[] parts = given.split(":", -1);
            HexFormat hex = HexFormat.of();
            OscoreSetting setting = new OscoreSetting(hex.parseHex(parts[0]), hex.parseHex(parts[1]),
                    hex.parseHex(parts[2]), (Integer) null, null, hex.parseHex(parts[3]));
            initializer.setInstancesForObject(0, Security.oscoreOnly(uri, 101, 7));
            initializer.setInstancesForObject(1, new Server(101, 300));
            initializer.setInstancesForObject(21, new Oscore(7, setting));
        }
        initializer.setInstancesForObject(3,
                new Noticing(Map.of(0, "Eclipse", 14, "+01", 16, "U")));
        initializer.setInstancesForObject(Models.TEMPERATURE, temperature);
        DefaultRegistrationEngineFactory engine = new DefaultRegistrationEngineFactory();
        engine.setRetryWaitingTimeInMs(500);
        LeshanClient client = new LeshanClientBuilder(endpoint).setObjects(initializer.createAll())
                .setRegistrationEngineFactory(engine)
                .setEndpointsProviders(
                        new CaliforniumClientEndpointsProvider.Builder(new CoapOscoreProtocolProvider()).build())
                .build();
        client.addObserver(new Reporter());
        return client;
    }

    /** Says what a server does to it. */
    public static final class Noticing extends SimpleInstanceEnabler {
        public Noticing() {
        }

        Noticing(Map<Integer, Object> values) {
            super(0, values);
        }

        @Override
        public WriteResponse write(LwM2mServer server, boolean replace, int id, LwM2mResource value) {
            if (!server.isSystem()) {
                Lines.print("written", "path", path(id), "value", value.getValue());
            }
            return super.write(server, replace, id, value);
        }

        @Override
        public ObserveResponse observe(LwM2mServer server, int id) {
            Lines.print("observed", "path", path(id));
            return super.observe(server, id);
        }

        private String path(int resource) {
            return "/" + getModel().id + "/" + getId() + "/" + resource;
        }
    }

    /** Says what becomes of the registration. */
    private static final class Reporter extends LwM2mClientObserverAdapter {
        @Override
        public void onBootstrapSuccess(LwM2mServer server, BootstrapRequest request) {
            Lines.print("bootstrapped");
        }

        @Override
        public void onBootstrapFailure(LwM2mServer server, BootstrapRequest request, ResponseCode code,
                String message, Exception cause) {
            Lines.print("failed", "what", "bootstrap", "code", String.valueOf(code), "reason", message);
        }

        @Override
        public void onRegistrationSuccess(LwM2mServer server, RegisterRequest request, String location) {
            Lines.print("registered", "uri", server.getUri());
        }

        @Override
        public void onRegistrationFailure(LwM2mServer server, RegisterRequest request, ResponseCode code,
                String message, Exception cause) {
            Lines.print("failed", "what", "register", "code", String.valueOf(code), "reason", message);
        }

        @Override
        public void onUpdateSuccess(LwM2mServer server, UpdateRequest request) {
            Lines.print("updated");
        }

        @Override
        public void onUpdateFailure(LwM2mServer server, UpdateRequest request, ResponseCode code, String message,
                Exception cause) {
            Lines.print("failed", "what", "update", "code", String.valueOf(code), "reason", message);
        }

        @Override
        public void onUnexpectedError(Throwable error) {
            Lines.print("failed", "what", "client", "reason", error.toString());
        }
    }
}
