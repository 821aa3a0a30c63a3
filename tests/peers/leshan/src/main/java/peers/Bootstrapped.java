package peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;

import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.engine.DefaultRegistrationEngineFactory;
import org.eclipse.leshan.client.object.Oscore;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.observer.LwM2mClientObserverAdapter;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.resource.SimpleInstanceEnabler;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.StaticModel;
import org.eclipse.leshan.core.request.BootstrapRequest;
import org.eclipse.leshan.core.request.ContentFormat;
import org.eclipse.leshan.core.request.RegisterRequest;

/**
 * A Leshan client that knows nothing but its bootstrap server: {@code Bootstrapped URI ENDPOINT CREDENTIALS
 * [FORMAT]}. What it shows is said in {@link Credentials}; FORMAT is the number of its preferred content format.
 *
 * Standard input: {@code start}, {@code quit}. Standard output: one JSON object a line: bootstrapping,
 * bootstrapped, registered (with the uri of the server), failed.
 */
public final class Bootstrapped {

    private Bootstrapped() {
    }

    public static void main(String[] arguments) throws Exception {
        LeshanClient client = client(arguments[0], arguments[1], new Credentials(arguments[2]),
                arguments.length > 3 ? ContentFormat.fromCode(arguments[3]) : null);
        client.start();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null && !line.equals("quit"); line = input.readLine()) {
            if (line.equals("start")) {
                client.start();
            }
        }
        client.destroy(false);
        System.exit(0);
    }

    private static LeshanClient client(String uri, String endpoint, Credentials credentials, ContentFormat format) {
        ObjectsInitializer initializer = new ObjectsInitializer(new StaticModel(Models.all()));
        initializer.setInstancesForObject(0, credentials.bootstrap(uri));
        initializer.setClassForObject(1, Server.class);
        initializer.setClassForObject(21, Oscore.class);
        initializer.setInstancesForObject(3, new SimpleInstanceEnabler(0, Map.of(0, "Eclipse", 16, "U")));
        DefaultRegistrationEngineFactory engine = new DefaultRegistrationEngineFactory();
        engine.setRetryWaitingTimeInMs(500);
        if (format != null) {
            engine.setPreferredContentFormat(format);
        }
        LeshanClient client = new LeshanClientBuilder(endpoint).setObjects(initializer.createAll())
                .setRegistrationEngineFactory(engine)
                .setEndpointsProviders(Credentials.endpoints())
                .build();
        client.addObserver(new Reporter());
        return client;
    }

    /** Says what becomes of it. */
    private static final class Reporter extends LwM2mClientObserverAdapter {
        @Override
        public void onBootstrapStarted(LwM2mServer server, BootstrapRequest request) {
            Lines.print("bootstrapping");
        }

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
        public void onBootstrapTimeout(LwM2mServer server, BootstrapRequest request) {
            Lines.print("failed", "what", "bootstrap", "reason", "timeout");
        }

        @Override
        public void onRegistrationSuccess(LwM2mServer server, RegisterRequest request, String location) {
            Lines.print("registered", "uri", server.getUri(), "location", location);
        }

        @Override
        public void onRegistrationFailure(LwM2mServer server, RegisterRequest request, ResponseCode code,
                String message, Exception cause) {
            Lines.print("failed", "what", "register", "code", String.valueOf(code), "reason", message);
        }

        @Override
        public void onRegistrationTimeout(LwM2mServer server, RegisterRequest request) {
            Lines.print("failed", "what", "register", "reason", "timeout");
        }

        @Override
        public void onUnexpectedError(Throwable error) {
            Lines.print("failed", "what", "client", "reason", error.toString());
        }
    }
}
